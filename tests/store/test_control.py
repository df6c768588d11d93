"""Control: requests about jobs, in every state, on every store; and in races with the workers that run them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from posthorse.clock import SECOND
from posthorse.errors import InvalidTransition, JobNotFound
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import GRAPH
from posthorse.rules.outcomes import Raised, Unfit
from posthorse.rules.requests import Request
from posthorse.store.operations import control, runners
from posthorse.store.operations.fence import Fence
from tests.store.yard import Yard

pytestmark = pytest.mark.all_postgres


def _paused(yard: Yard) -> str:
    [job] = yard.enqueue()
    yard.ask(job, "pause")
    return job


def _cancelled(yard: Yard) -> str:
    [job] = yard.enqueue()
    yard.ask(job, "cancel")
    return job


def _completed(yard: Yard) -> str:
    attempt = yard.started()
    yard.complete(attempt)
    return attempt.job


def _failed(yard: Yard) -> str:
    attempt = yard.started()
    yard.fail(attempt)
    return attempt.job


def _blocked(yard: Yard) -> str:
    attempt = yard.started()
    yard.settle(attempt, Unfit("x"))
    return attempt.job


IN_STATE: dict[State, Callable[[Yard], str]] = {
    State.SCHEDULED: lambda yard: yard.enqueue(delay=60 * SECOND)[0],
    State.BLOCKED: _blocked,
    State.PENDING: lambda yard: yard.enqueue()[0],
    State.PROCESSING: lambda yard: yard.started().job,
    State.PAUSED: _paused,
    State.COMPLETED: _completed,
    State.FAILED: _failed,
    State.CANCELLED: _cancelled,
}

NO = None
LEADS_TO: dict[Request, dict[State, State | None]] = {
    "pause": {
        State.SCHEDULED: State.PAUSED, State.BLOCKED: State.PAUSED, State.PENDING: State.PAUSED,
        State.PROCESSING: State.PROCESSING, State.PAUSED: State.PAUSED,
        State.COMPLETED: NO, State.FAILED: NO, State.CANCELLED: NO,
    },
    "resume": {
        State.SCHEDULED: State.SCHEDULED, State.BLOCKED: State.BLOCKED, State.PENDING: State.PENDING,
        State.PROCESSING: State.PROCESSING, State.PAUSED: State.PENDING,
        State.COMPLETED: NO, State.FAILED: NO, State.CANCELLED: NO,
    },
    "cancel": {
        State.SCHEDULED: State.CANCELLED, State.BLOCKED: State.CANCELLED, State.PENDING: State.CANCELLED,
        State.PROCESSING: State.PROCESSING, State.PAUSED: State.CANCELLED,
        State.COMPLETED: NO, State.FAILED: NO, State.CANCELLED: State.CANCELLED,
    },
    "retry": {
        State.SCHEDULED: NO, State.BLOCKED: NO, State.PENDING: NO, State.PROCESSING: NO, State.PAUSED: NO,
        State.COMPLETED: NO, State.FAILED: State.PENDING, State.CANCELLED: State.PENDING,
    },
}  # fmt: skip

CASES = [(action, state, forced) for action in LEADS_TO for state in IN_STATE for forced in (False, True)]


@pytest.mark.parametrize(("action", "state", "forced"), CASES)
def test_request_leads_where_the_table_says(yard: Yard, action: Request, state: State, forced: bool) -> None:
    job = IN_STATE[state](yard)
    assert yard.state(job) is state
    target = LEADS_TO[action][state]
    if forced and state is State.PROCESSING and action in ("pause", "cancel"):
        target = State.PAUSED if action == "pause" else State.CANCELLED
    if target is None:
        with pytest.raises(InvalidTransition, match=job):
            yard.ask(job, action, force=forced)
        assert yard.state(job) is state
    else:
        assert yard.ask(job, action, force=forced) is target
        assert yard.state(job) is target
        assert target is state or target in GRAPH[state]
        assert yard.ask(job, action, force=forced) is target if action != "retry" else True
    yard.audit()


def test_unknown_job_is_not_found(yard: Yard) -> None:
    for force in (False, True):
        with pytest.raises(JobNotFound):
            yard.ask("01936f5e-7c1a-7d2b-8e3f-0123456789ab", "cancel", force=force)


def test_resumed_job_goes_to_the_end_of_its_lane(yard: Yard) -> None:
    first, second = yard.enqueue(2)
    yard.ask(first, "pause")
    yard.ask(first, "resume")
    assert [job.job for job in yard.claim(yard.runner(), 2)] == [second, first]
    assert yard.events(first) == ["paused", "resumed"]


def test_scheduled_job_that_was_paused_is_scheduled_again(yard: Yard) -> None:
    [job] = yard.enqueue(delay=60 * SECOND)
    yard.ask(job, "pause")
    yard.pass_time(seconds=1)
    assert yard.promote() == 0
    assert yard.ask(job, "resume") is State.SCHEDULED
    yard.pass_time(seconds=60)
    assert yard.promote() == 1


def test_paused_job_is_not_promoted_when_its_time_comes(yard: Yard) -> None:
    [job] = yard.enqueue(delay=10 * SECOND)
    yard.ask(job, "pause")
    yard.pass_time(seconds=60)
    assert yard.promote() == 0
    assert yard.ask(job, "resume") is State.PENDING
    yard.audit()


def test_retried_job_starts_with_new_budgets_and_an_epoch_beyond_the_old_worker(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Raised(JobError("E", "no")))
    yard.pass_time(hours=2)
    yard.promote()
    again = yard.claim_one()
    yard.fail(again)
    assert yard.ask(again.job, "retry") is State.PENDING
    last = yard.claim_one()
    assert last.epoch > again.epoch + 1
    row = yard.job(last.job)
    assert (row.errors, row.crashes, row.interruptions, row.finished_at) == (0, 0, 0, None)
    assert yard.complete(again) == [again.job]
    assert yard.complete(last) == []


def test_a_resume_takes_back_a_pause_and_no_cancel(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel")
    yard.ask(attempt.job, "resume")
    assert yard.store.read(runners.requests_for(attempt.runner)).of_jobs == {attempt.job: "cancel"}


def test_what_was_asked_of_an_earlier_runner_is_dropped_though_another_one_has_the_job(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    earlier = yard.runner()
    table = yard.store.backend.dialect.table("controls")
    with yard.store.transaction() as connection:
        cast("Any", connection).execute(f"UPDATE {table} SET runner = '{earlier}'")
    assert yard.rescue_expired() == []
    assert yard.store.read(runners.requests_for(earlier)).of_jobs == {}
    assert yard.job(attempt.job).request is None


def test_runner_hears_what_is_asked_of_its_jobs(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(3)
    paused, cancelled, _ = (job.job for job in yard.claim(runner, 3))
    yard.ask(paused, "pause")
    yard.ask(cancelled, "cancel")
    yard.ask(cancelled, "pause")
    assert yard.store.read(runners.requests_for(runner)).of_jobs == {paused: "pause", cancelled: "cancel"}
    assert yard.job(cancelled).request == "cancel"
    yard.ask(paused, "resume")
    assert yard.store.read(runners.requests_for(runner)).of_jobs == {cancelled: "cancel"}


def test_request_that_came_too_late_is_forgotten(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue()
    attempt = yard.claim_one(runner)
    yard.ask(attempt.job, "cancel")
    yard.complete(attempt)
    assert yard.job(attempt.job).request is None
    yard.rescue_expired()
    assert yard.store.read(runners.requests_for(runner)).of_jobs == {}


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_forced_stop_fences_the_worker_off(yard: Yard, action: Request) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, action, force=True)
    assert yard.complete(attempt) == [attempt.job]
    assert yard.checkpoint(attempt) is None
    assert not yard.fail(attempt)
    yard.audit()


def test_cancel_and_completion_race_and_one_of_them_wins(yard: Yard) -> None:
    other = Yard(yard.store.url)
    attempts = [yard.started() for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(yard.complete, attempt) for attempt in attempts]
        asks = [pool.submit(_try, other, attempt, n % 2 == 0) for n, attempt in enumerate(attempts)]
        fenced = [future.result() for future in ends]
        states = [future.result() for future in asks]
    other.store.close()
    for attempt, lost, asked in zip(attempts, fenced, states, strict=True):
        state = yard.state(attempt.job)
        assert state is (State.CANCELLED if lost else State.COMPLETED)
        assert asked is not State.CANCELLED or state is State.CANCELLED
    yard.audit()


def test_cancel_and_claim_race_and_no_job_is_in_two_places(yard: Yard) -> None:
    other = Yard(yard.store.url)
    runner = yard.runner()
    jobs = yard.enqueue(40)
    with ThreadPoolExecutor(8) as pool:
        asks = [pool.submit(other.ask, job, "cancel") for job in jobs]
        claims = [pool.submit(yard.claim, runner, 2) for _ in range(20)]
        states = dict(zip(jobs, (future.result() for future in asks), strict=True))
        claimed = {job.job for future in claims for job in future.result()}
    other.store.close()
    assert {job for job, state in states.items() if state is State.PROCESSING} <= claimed
    assert {job for job, state in states.items() if state is State.CANCELLED} == set(jobs) - claimed
    yard.audit()


def _try(yard: Yard, attempt: Fence, force: bool) -> State | None:
    try:
        return yard.ask(attempt.job, "cancel", force=force)
    except InvalidTransition:
        return None


def test_a_forced_pause_does_not_weaken_a_cancel_that_was_answered(yard: Yard) -> None:
    job = yard.started().job
    yard.ask(job, "cancel")
    assert yard.ask(job, "pause", force=True) is State.CANCELLED
    assert yard.state(job) is State.CANCELLED
    yard.audit()


@pytest.mark.parametrize(("action", "again"), [("pause", True), ("cancel", True), ("retry", False), ("discard", False)])
def test_only_what_can_be_asked_twice_is_asked_again_after_a_lost_reply(action: Request, again: bool) -> None:
    asked = control.request("job", action, force=False)
    assert asked.is_repeatable is again
