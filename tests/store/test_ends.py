"""Ends of jobs: each passes the steps that follow ends, once, in its commit; only four statements end jobs."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

import posthorse
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Crashed, Expired, Lost, Outcome, Raised, Snoozed, Stopped, Unfit
from posthorse.store.base import QuerySteps
from posthorse.store.operations import bulk, ends, runners
from posthorse.store.operations.ends import JobEnd
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.schedules import STATES_OF
from tests.store.test_control import IN_STATE
from tests.store.test_queries import queries
from tests.store.yard import Yard

END_JOBS = {"complete", "settle", "cancel_job", "end_parent"}
"""The statements that can write a final state."""

JOBS = r'("posthorse"\.|posthorse_)jobs\b'
SETS_STATE = rf"UPDATE {JOBS}(?:(?!\bWHERE\b).)*\bstate\b"
INNER_SELECT = r"\((?=\s*SELECT\b)[^()]*\)"

FINAL = {state.value for state in State if state.is_final}
LAST = Policy(max_attempts=1, max_crashes=1, max_interruptions=1)
NO = JobError("ValueError", "no")
COMPLETED, FAILED, CANCELLED = State.COMPLETED, State.FAILED, State.CANCELLED
RUNNING = State.PROCESSING

End = tuple[str, State, State]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[End]:
    """Return the list of what a step sees that follows every end: the job, its state, and the state before."""
    found: list[End] = []

    def see(ended: JobEnd) -> QuerySteps[None]:
        stored = yield from STATES_OF([(job,) for job in ended.jobs])
        assert {state for _, state in stored} <= {ended.state.value}
        assert ended.rows
        found.extend((job, ended.state, ended.was) for job in ended.jobs)

    _follow_every_end(monkeypatch, see)
    return found


def _follow_every_end(monkeypatch: pytest.MonkeyPatch, step: ends.EndStep) -> None:
    monkeypatch.setattr(ends, "END_STEPS", {state: (*steps, step) for state, steps in ends.END_STEPS.items()})


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Raised(NO), FAILED),
        (Raised(NO, gives_up="it is in give_up_on"), FAILED),
        (Crashed("segfault", alone=True), FAILED),
        (Lost("its worker fell silent"), FAILED),
        (Expired(), CANCELLED),
        (Stopped("cancel"), CANCELLED),
    ],
)
def test_an_attempt_that_ends_its_job(yard: Yard, seen: list[End], outcome: Outcome, state: State) -> None:
    attempt = yard.started()
    assert yard.settle(attempt, outcome, policy=LAST)
    assert seen == [(attempt.job, state, RUNNING)]
    assert yard.settle(attempt, outcome, policy=LAST)  # the reply was lost
    assert len(seen) == 1


@pytest.mark.parametrize(
    "outcome",
    [
        Raised(NO),
        Crashed("x", alone=True),
        Lost("x"),
        Snoozed(1, "later"),
        Unfit("x"),
        Stopped("pause"),
        Stopped("yield"),
    ],
)
def test_an_attempt_after_which_the_job_goes_on_is_no_end(yard: Yard, seen: list[End], outcome: Outcome) -> None:
    assert yard.settle(yard.started(), outcome)
    assert seen == []


def test_a_completion_alone_in_a_batch_and_said_twice(yard: Yard, seen: list[End]) -> None:
    alone = yard.started()
    assert yard.complete(alone) == []
    assert seen == [(alone.job, COMPLETED, RUNNING)]
    seen.clear()
    runner = yard.runner()
    yard.enqueue(4)
    first, second, third, other = (Fence(c.job, c.epoch, runner) for c in yard.claim(runner, 4))
    assert yard.complete(first) == []
    lost = Fence(second.job, second.epoch + 1, runner)
    seen.clear()
    assert yard.complete(first, lost, third, other) == [second.job]
    assert sorted(seen) == sorted((each.job, COMPLETED, RUNNING) for each in (third, other))
    seen.clear()
    assert yard.complete(first, third, other) == []
    assert seen == []


def test_completions_of_several_epochs(yard: Yard, seen: list[End]) -> None:
    runner = yard.runner()
    [job] = yard.enqueue()
    yard.settle(yard.claim_one(runner), Stopped("yield"))
    yard.enqueue(2)
    attempts = [Fence(c.job, c.epoch, runner) for c in yard.claim(runner, 3)]
    assert {attempt.epoch for attempt in attempts} == {1, 2}
    assert yard.complete(*attempts) == []
    assert sorted(job for job, *_ in seen) == sorted(attempt.job for attempt in attempts)
    assert job in [job for job, *_ in seen]


def test_a_rescue(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    yard.pass_time(minutes=2)
    assert yard.rescue_expired() == [attempt.runner]
    [held] = yard.store.read(runners.orphans(10))
    assert yard.settle(Fence(held.job, held.epoch, held.runner), Lost("its worker fell silent"), policy=LAST)
    assert seen == [(attempt.job, FAILED, RUNNING)]


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED, State.BLOCKED, State.PAUSED])
def test_a_cancel_of_a_job_that_no_runner_holds(yard: Yard, seen: list[End], state: State) -> None:
    job = IN_STATE[state](yard)
    yard.ask(job, "cancel")
    assert seen == [(job, CANCELLED, state)]
    yard.ask(job, "cancel")
    assert len(seen) == 1


def test_a_forced_cancel(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel", force=True)
    assert seen == [(attempt.job, CANCELLED, RUNNING)]


def test_a_forced_pause_after_a_cancel_was_promised(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel")
    assert yard.ask(attempt.job, "pause", force=True) is CANCELLED
    assert seen == [(attempt.job, CANCELLED, State.PAUSED)]


def test_a_cancel_that_waited_for_the_end_of_the_attempt(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel")
    assert seen == []
    yard.settle(attempt, Snoozed(60_000_000, "later"))
    assert seen == [(attempt.job, CANCELLED, State.SCHEDULED)]


def test_a_cancel_of_a_job_that_is_given_back(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel")
    yard.give_back(attempt)
    assert seen == [(attempt.job, CANCELLED, State.PENDING)]


def test_a_bulk_cancel(yard: Yard, seen: list[End]) -> None:
    jobs = yard.enqueue(3)
    running = yard.claim_one()
    pages = [yard.store.run(bulk.steer(jobs, state, "cancel")) for state in (State.PENDING, State.PROCESSING)]
    assert pages == [(2, 0), (1, 1)]
    assert sorted(seen) == sorted((job, CANCELLED, State.PENDING) for job in jobs if job != running.job)


def test_what_leaves_a_final_state_is_no_end(yard: Yard, seen: list[End]) -> None:
    for state in (FAILED, CANCELLED):
        yard.ask(IN_STATE[state](yard), "retry")
    discarded = IN_STATE[FAILED](yard)
    seen.clear()
    yard.ask(discarded, "discard")
    assert yard.state(discarded) is CANCELLED
    assert seen == []


def test_an_attempt_that_lost_its_lease_ends_nothing(yard: Yard, seen: list[End]) -> None:
    attempt = yard.started()
    late = Fence(attempt.job, attempt.epoch + 1, attempt.runner)
    assert not yard.fail(late)
    assert yard.complete(late) == [attempt.job]
    assert seen == []


def test_a_job_is_not_over_if_a_step_fails(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ended: JobEnd) -> QuerySteps[None]:
        yield from ()
        raise ValueError("the step failed")

    _follow_every_end(monkeypatch, fail)
    completed, failed = yard.started(), yard.started()
    [cancelled] = yard.enqueue()
    ways: list[Callable[[], object]] = [
        lambda: yard.complete(completed),
        lambda: yard.fail(failed),
        lambda: yard.ask(cancelled, "cancel"),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="the step failed"):
            way()
    assert not any(yard.state(job).is_final for job in (completed.job, failed.job, cancelled))
    yard.audit()


def test_a_request_that_was_carried_out_is_dropped(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel")
    assert yard.store.read(runners.requests_for(attempt.runner)).of_jobs == {attempt.job: "cancel"}
    yard.settle(attempt, Stopped("cancel"))
    assert yard.store.read(runners.requests_for(attempt.runner)).of_jobs == {}


def test_a_request_that_came_too_late_does_not_apply_to_a_retry(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    yard.fail(attempt)
    yard.ask(attempt.job, "retry")
    again = yard.claim_one(attempt.runner)
    assert again.job == attempt.job
    assert yard.checkpoint(again) == (1, None)


def test_no_other_statement_can_write_a_final_state(yard: Yard) -> None:
    compiled = queries(yard)
    able = set[str]()
    for name in compiled.names():
        for statement in compiled[name].statements:
            outer = re.sub(INNER_SELECT, "()", statement.sql)
            if re.search(f"INSERT INTO {JOBS}", outer) or re.search(SETS_STATE, outer, re.DOTALL):
                literals = set(re.findall(r"'(\w+)'", statement.sql))
                if literals & FINAL or "state" in {*statement.names, *dict(compiled[name].columns)}:
                    able.add(name)
    assert able == END_JOBS


def test_no_other_module_calls_these_statements() -> None:
    calling: dict[str, set[str]] = {}
    root = Path(posthorse.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and _name_of(node.func) in ("query", "query_rows", "BoundQuery", "TypedQuery")
                and node.args
            ):
                words = {each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)}
                for word in END_JOBS & cast("set[str]", words):
                    calling.setdefault(word, set()).add(path.relative_to(root).as_posix())
    assert calling == {word: {"store/operations/ends.py"} for word in END_JOBS}


def _name_of(called: ast.expr) -> str | None:
    return called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else None
