"""Retries: what a job's code and its kind's options say about further attempts; and jobs that come too late."""

from __future__ import annotations

from datetime import timedelta

import pytest

import posthorse as ph
from tests.waiting import until, until_state
from tests.worker import isolated_jobs

MOMENT = timedelta(seconds=1)
"""The time between two statements of one transaction."""


def test_errors_that_no_attempt_can_mend_are_dead_letters_at_once(app: ph.Posthorse) -> None:
    @app.job(retry_on=(ConnectionError, KeyError), give_up_on=BrokenPipeError, max_attempts=2, backoff=0)
    async def picky(name: str) -> None:
        raise {"value": ValueError, "pipe": BrokenPipeError, "reset": ConnectionResetError}[name]("no")

    with app.worker():
        jobs = [picky.enqueue(name) for name in ("value", "pipe", "reset")]
        statuses = [until_state(job, "failed") for job in jobs]
    assert [status.reason for status in statuses] == [
        "gave up: ValueError is not in retry_on",
        "gave up: BrokenPipeError is in give_up_on",
        "failed in 2 attempts",
    ]
    assert [status.attempt for status in statuses] == [1, 1, 2]
    assert statuses[0].error is not None
    assert statuses[0].error.type == "ValueError"


def test_giving_up_keeps_the_reason_and_what_led_to_it(app: ph.Posthorse) -> None:
    @app.job
    def welcome() -> None:
        try:
            raise LookupError("user 7")
        except LookupError as error:
            raise ph.GiveUp("the user is gone") from error

    with app.worker():
        job = welcome.enqueue()
        status = until_state(job, "failed")
    assert (status.reason, status.attempt) == ("gave up: the user is gone", 1)
    assert status.error is not None
    assert str(status.error) == "posthorse.GiveUp: the user is gone"
    assert "LookupError: user 7" in (status.error.traceback or "")
    with pytest.raises(ph.JobFailed, match="the user is gone"):
        job.result()


def test_a_retry_waits_exactly_as_long_as_it_asks_for_and_spends_an_attempt(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    async def limited(after: str) -> None:
        raise ph.Retry("too many requests", after=after)

    with app.worker():
        later, now = limited.enqueue("5m"), limited.enqueue("0s")
        status = until_state(later, "scheduled")
        spent = until_state(now, "failed")
    assert status.run_at is not None
    event = later.attempts()[0]
    assert event.finished_at is not None
    assert abs(status.run_at - event.finished_at - timedelta(minutes=5)) < MOMENT
    assert (status.attempt, str(status.error)) == (2, "posthorse.Retry: too many requests")
    assert spent.reason == "failed in 2 attempts"


def test_a_snoozed_job_comes_back_with_nothing_spent(app: ph.Posthorse) -> None:
    runs: list[int] = []

    @app.job(max_attempts=1)
    def patient(ctx: ph.Context) -> int:
        runs.append(ctx.attempt)
        if len(runs) < 4:
            raise ph.Snooze("20ms", "the shop is closed")
        return len(runs)

    @app.job(max_attempts=1)
    def sleepy() -> None:
        raise ph.Snooze("1h")

    with app.worker():
        job, asleep = patient.enqueue(), sleepy.enqueue()
        assert job.result(timeout=30) == 4
        status = until_state(asleep, "scheduled")
    assert runs == [1, 1, 1, 1]
    assert (status.reason, status.attempt, status.error) == ("snoozed: the job asked to run later", 1, None)
    assert [attempt.outcome for attempt in job.attempts()] == ["snoozed"] * 3 + ["completed"]


def test_a_function_says_how_long_to_wait_and_its_own_errors_lose_no_job(app: ph.Posthorse) -> None:
    asked: list[tuple[int, str]] = []

    def backoff(attempt: int, error: BaseException) -> float:
        asked.append((attempt, str(error)))
        if attempt == 2:
            raise SystemExit
        return 0

    @app.job(backoff=backoff)
    async def bad() -> None:
        raise ValueError("no")

    with app.worker():
        job = bad.enqueue()
        until(lambda: len(asked) == 2)
        status = until_state(job, "scheduled")
        own = bad.using(backoff="1h").enqueue()
        until_state(own, "scheduled")
    assert asked == [(1, "no"), (2, "no")]
    assert status.run_at is not None
    assert 0.9 < (status.run_at - status.created_at).total_seconds() < 20  # as without a function: 2 to 4 s


def test_lists_of_durations_and_linear_waits_travel_with_one_job(app: ph.Posthorse) -> None:
    @app.job(backoff=["0s", "1h"])
    async def bad() -> None:
        raise ValueError("no")

    with app.worker():
        listed = bad.enqueue()
        linear = bad.using(backoff=ph.Backoff.linear("2h")).enqueue()
        statuses = [until_state(job, "scheduled") for job in (listed, linear)]
    ends = [job.attempts()[-1].finished_at for job in (listed, linear)]
    waits = [status.run_at - end for status, end in zip(statuses, ends, strict=True) if status.run_at and end]
    assert [round(wait / timedelta(hours=1), 3) for wait in waits] == [1, 2]
    assert [status.attempt for status in statuses] == [3, 2]


def test_what_steers_comes_out_of_a_process_of_its_own(store_url: str) -> None:
    isolated_jobs.app.use_url(store_url)
    with isolated_jobs.app.worker():
        jobs = [isolated_jobs.steers.enqueue(how) for how in ("retry", "snooze", "give up", "raise")]
        statuses = [until_state(job, "scheduled", "failed") for job in jobs]
    isolated_jobs.app.close()
    assert [status.reason for status in statuses] == [
        "attempt 1 of 5 failed",
        "snoozed: not now",
        "gave up: never",
        "gave up: ValueError is in give_up_on",
    ]
    assert statuses[0].run_at is not None
    assert statuses[0].run_at - statuses[0].created_at > timedelta(minutes=55)


@pytest.mark.parametrize("where", ["decorator", "using"])
def test_what_could_not_be_started_in_time_expires(app: ph.Posthorse, where: str) -> None:
    ran: list[int] = []

    @app.job(expires="1m" if where == "decorator" else "1h")
    def fresh(n: int) -> None:
        ran.append(n)

    kind = fresh.using(expires="1m") if where == "using" else fresh
    late, later = kind.enqueue(1), kind.using(delay="5m").enqueue(2)
    app.store.clock.advance(timedelta(minutes=5))
    with app.worker():
        status = until_state(late, "cancelled", "completed")
        assert until_state(later, "cancelled", "completed").state == "completed"
        assert (status.state, status.reason) == ("cancelled", "expired")
        assert late.retry() == "pending"
        assert until_state(late, "completed").state == "completed"  # retried by hand, it runs all the same
    assert sorted(ran) == [1, 2]


def test_no_item_is_blamed_for_what_steers(app: ph.Posthorse) -> None:
    @app.job
    def careful(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2, tolerate=10):
            for item in batch:
                with batch.tolerate(item):
                    if item == 3:
                        raise ph.GiveUp("the shop burnt down")

    with app.worker():
        job = careful.enqueue()
        status = until_state(job, "failed", "completed")
    assert (status.reason, status.progress.done) == ("gave up: the shop burnt down", 2)
    assert job.bad_items() == []


def test_what_is_late_but_not_too_late_is_started(app: ph.Posthorse) -> None:
    @app.job(expires="1m")
    def work() -> None: ...

    job = work.enqueue()
    app.store.clock.advance(timedelta(seconds=30))
    with app.worker():
        job.result(timeout=30)


def test_a_job_that_never_started_and_is_retried_expires_from_then_on(app: ph.Posthorse) -> None:
    @app.job(expires="1m")
    def fresh() -> int:
        return 7

    one, other = fresh.enqueue(), fresh.enqueue()
    one.cancel()
    other.cancel()
    app.store.clock.advance(timedelta(hours=1))
    one.retry()
    other.retry()
    with app.worker():
        assert one.result(timeout=30) == 7
        assert other.result(timeout=30) == 7
    late = fresh.enqueue()
    late.cancel()
    late.retry()
    app.store.clock.advance(timedelta(hours=1))
    with app.worker():
        until_state(late, "cancelled")
    assert str(late.status().reason).startswith("expired")
