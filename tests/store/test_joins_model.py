"""Random worlds of families: whatever ends, fails, is retried, paused or cancelled, in whatever order ends are counted,
the counters agree with what there is, no job starts before its needs are met, and in the end nothing waits.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import cast

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.joins import NEEDS, Edge
from posthorse.rules.outcomes import Joined
from posthorse.rules.requests import Request
from posthorse.store.operations import families_steered, releasing
from posthorse.store.operations.families import NewFamily, add_children
from posthorse.store.operations.families_steered import steer_families
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.releasing import release
from posthorse.store.operations.submit import EntryTerms
from tests.store.families import check_joins, edges_of, empty, join_of, stored_states, submit
from tests.store.yard import Yard

REQUESTS: tuple[Request, ...] = ("pause", "resume", "cancel", "retry", "discard")
STEPS = 30


class Families(RuleBasedStateMachine):
    """Jobs with needs, parents and children, as clients, workers, users and the sweep change them."""

    def __init__(self, yard: Yard) -> None:
        super().__init__()
        self.yard = yard
        empty(yard)
        self.jobs: list[str] = []
        self.held: list[Fence] = []
        self.runner = yard.runner()
        self.is_sound = True

    @rule(data=st.data(), count=st.integers(1, 4), depth=st.integers(0, 2))
    def enqueue(self, data: st.DataObject, count: int, depth: int) -> None:
        """Enqueue jobs that need earlier ones, below so many parents, each a child of the one before."""
        new = self.yard.new(depth + count)
        parents = [job.id for job in new[:depth]]
        above = [None, *parents, *parents[-1:] * (count - 1)] if parents else [None] * count
        jobs = [msgspec.structs.replace(job, parent=parent) for job, parent in zip(new, above, strict=True)]
        known = [*self.jobs[-6:], *(job.id for job in new[depth:])]
        edges = [
            Edge(needed, job.id, data.draw(st.sampled_from(NEEDS)))
            for job in new[depth:]
            for needed in known[: known.index(job.id)]
            if data.draw(st.integers(0, 3)) == 0
        ]
        submit(self.yard, jobs, edges, parents)
        self.jobs += [job.id for job in jobs]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 3))
    def add(self, data: st.DataObject, count: int) -> None:
        """Let a running job add children, each of which needs the one before, or not."""
        attempt = data.draw(st.sampled_from(self.held))
        jobs = [msgspec.structs.replace(job, parent=attempt.job) for job in self.yard.new(count)]
        edges = [
            Edge(one.id, other.id, data.draw(st.sampled_from(NEEDS)))
            for one, other in pairwise(jobs)
            if data.draw(st.booleans())
        ]
        terms = EntryTerms(self.yard.store.lanes({job.lane for job in jobs}))
        if self.yard.store.run(add_children(attempt, NewFamily(jobs, edges), terms)) is not None:
            self.jobs += [job.id for job in jobs]

    @rule(room=st.integers(1, 3))
    def claim(self, room: int) -> None:
        for claimed in self.yard.claim(self.runner, room):
            for needed, needs, is_met in edges_of(self.yard, claimed.job):
                assert is_met, f"{claimed.job} started before {needed} was {needs}"
            self.held.append(Fence(claimed.job, claimed.epoch, self.runner))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["returns", "runs again after its children", "fails"]))
    def finish(self, data: st.DataObject, how: str) -> None:
        attempt = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if how == "fails":
            self.yard.fail(attempt)
        else:
            self.finish_well(attempt, None if how == "runs again after its children" else "null")

    def finish_well(self, attempt: Fence, result: str | None = "null") -> None:
        """End an attempt as a runner does: a job with children waits for them, and again after it ran again."""
        join = join_of(self.yard, attempt.job)
        if join is not None and join.total and join.phase in (None, "again"):
            self.yard.settle(attempt, Joined(result))
        else:
            self.yard.complete(attempt)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), request=st.sampled_from(REQUESTS), force=st.booleans())
    def ask(self, data: st.DataObject, request: Request, force: bool) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        with suppress(InvalidTransition):
            self.yard.ask(job, request, force=force)

    @rule()
    def count(self) -> None:
        self.yard.store.run(release())

    @rule()
    def steer(self) -> None:
        self.yard.store.run(steer_families())

    @invariant()
    def counters_agree(self) -> None:
        self.is_sound = False
        check_joins(self.yard)
        self.yard.audit()
        self.is_sound = True

    def teardown(self) -> None:
        """Let everything end: nothing may be left that waits. A world that is broken already would prove nothing."""
        if not self.is_sound:
            return
        yard = self.yard
        for _ in range(200):
            while yard.store.run(release()) or yard.store.run(steer_families()):
                check_joins(yard)
            for job, state in stored_states(yard).items():
                if state is State.PAUSED:
                    with suppress(InvalidTransition):  # a resume of its family may have ended it
                        yard.ask(job, "resume")
            for claimed in yard.claim(self.runner, 100):
                self.held.append(Fence(claimed.job, claimed.epoch, self.runner))
            if self.held:
                for attempt in self.held:
                    self.finish_well(attempt)
                self.held = []
            elif all(state.is_final for state in stored_states(yard).values()):
                break
        states = stored_states(yard)
        assert all(state.is_final for state in states.values()), states
        check_joins(yard)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "EDGES_AT_ONCE", 2)
    monkeypatch.setattr(releasing, "SKIPPED_AT_ONCE", 2)
    monkeypatch.setattr(releasing, "NOTES_AT_ONCE", 1)
    monkeypatch.setattr(families_steered, "CHILDREN_AT_ONCE", 2)


@pytest.mark.parametrize(
    "examples", [pytest.param(30, id="some worlds"), pytest.param(300, id="many worlds", marks=pytest.mark.soak)]
)
@pytest.mark.usefixtures("small")
def test_families_in_random_worlds(yard: Yard, examples: int) -> None:
    """I16"""
    run_state_machine_as_test(
        cast("type[Families]", partial(Families, yard)),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
