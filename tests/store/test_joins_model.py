"""Random worlds of families: whatever ends, fails, is retried, paused or cancelled, in whatever order ends are counted,
the counters agree with what there is, no job starts before its needs are met, and in the end nothing waits.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import cast

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.joins import NEEDS, Edge
from posthorse.rules.lifecycle import Request
from posthorse.store.operations import families_steered, releasing
from posthorse.store.operations.families_steered import steer_families
from posthorse.store.operations.finish import Fence
from posthorse.store.operations.releasing import release
from tests.store.families import check_joins, edges_of, empty, submit
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

    @rule(data=st.data(), count=st.integers(1, 4), has_parent=st.booleans())
    def enqueue(self, data: st.DataObject, count: int, has_parent: bool) -> None:
        new = self.yard.new(count + has_parent)
        parents = [new[0].id] if has_parent else []
        above = data.draw(st.sampled_from(parents)) if has_parent else None
        jobs = [job if job.id in parents else msgspec.structs.replace(job, parent=above) for job in new]
        known = [*self.jobs[-6:], *(job.id for job in new if job.id not in parents)]
        edges = [
            Edge(needed, job.id, data.draw(st.sampled_from(NEEDS)))
            for job in new[has_parent:]
            for needed in known[: known.index(job.id)]
            if data.draw(st.integers(0, 3)) == 0
        ]
        submit(self.yard, jobs, edges, parents)
        self.jobs += [job.id for job in jobs]

    @rule(room=st.integers(1, 3))
    def claim(self, room: int) -> None:
        for claimed in self.yard.claim(self.runner, room):
            for needed, needs, is_met in edges_of(self.yard, claimed.job):
                assert is_met, f"{claimed.job} started before {needed} was {needs}"
            self.held.append(Fence(claimed.job, claimed.epoch, self.runner))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_good=st.booleans())
    def finish(self, data: st.DataObject, is_good: bool) -> None:
        attempt = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if is_good:
            self.yard.complete(attempt)
        else:
            self.yard.fail(attempt)

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
            for job in self.jobs:
                if yard.state(job) is State.PAUSED:
                    yard.ask(job, "resume")
            for claimed in yard.claim(self.runner, 100):
                self.held.append(Fence(claimed.job, claimed.epoch, self.runner))
            if self.held:
                yard.complete(*self.held)
                self.held = []
            elif all(yard.state(job).is_final for job in self.jobs):
                break
        states = {job: yard.state(job) for job in self.jobs}
        assert all(state.is_final for state in states.values()), states
        check_joins(yard)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "EDGES_AT_ONCE", 2)
    monkeypatch.setattr(releasing, "SKIPPED_AT_ONCE", 2)
    monkeypatch.setattr(releasing, "NOTES_AT_ONCE", 1)
    monkeypatch.setattr(families_steered, "CHILDREN_AT_ONCE", 2)


@pytest.mark.parametrize(
    "examples", [pytest.param(12, id="some worlds"), pytest.param(300, id="many worlds", marks=pytest.mark.soak)]
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
