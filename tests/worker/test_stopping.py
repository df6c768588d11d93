"""Stopping: cancel, pause and resume reach jobs wherever they are, and leaving the worker's block loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import pytest

import posthorse as ph
from posthorse.rules.job import Lane
from posthorse.rules.outcomes import Outcome
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.job_logs import LogChanges
from posthorse.worker.running.completer import Completer
from posthorse.worker.running.deciding import Decided
from posthorse.worker.running.running_job import Executor, RunningJob
from posthorse.worker.running.settler import Settler
from tests.waiting import until, until_state


def test_a_cancelled_job_that_waits_never_runs(app: ph.Posthorse) -> None:
    @app.job
    def never() -> None:
        raise AssertionError("it ran")

    jobs: list[ph.Job[None]] = [never.enqueue(), never.using(delay="1h").enqueue()]
    assert [job.cancel() for job in jobs] == ["cancelled", "cancelled"]
    with app.worker():
        for job in jobs:
            with pytest.raises(ph.JobCancelled):
                job.result(timeout=30)
    assert all(job.status().finished_at is not None for job in jobs)


def test_cancelling_a_running_async_job_cancels_it_where_it_waits(app: ph.Posthorse) -> None:
    began, ended = threading.Event(), threading.Event()

    @app.job
    async def endless() -> None:
        try:
            began.set()
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with app.worker():
        job = endless.enqueue()
        assert began.wait(30)
        assert job.cancel() == "processing"
        assert job.status().requested == "cancel"
        with pytest.raises(ph.JobCancelled):
            job.result(timeout=30)
        assert ended.is_set()
    assert job.status().reason == "cancelled on request"


def test_cancelling_a_running_thread_ends_it_at_its_next_checkpoint(app: ph.Posthorse) -> None:
    began = threading.Event()
    after: list[str] = []

    @app.job
    def endless(ctx: ph.Context) -> None:
        while True:
            began.set()
            try:
                ctx.checkpoint()
            except Exception:
                after.append("an except clause met the stop")

    with app.worker():
        job = endless.enqueue()
        assert began.wait(30)
        job.cancel()
        with pytest.raises(ph.JobCancelled):
            job.result(timeout=30)
    assert not after


def test_a_job_sees_that_it_is_to_stop_and_may_tidy_up_first(app: ph.Posthorse) -> None:
    began = threading.Event()
    tidied = threading.Event()

    @app.job
    def tidy(ctx: ph.Context) -> None:
        began.set()
        until(lambda: ctx.stop_requested, what="the request")
        tidied.set()
        ctx.checkpoint()

    with app.worker():
        job = tidy.enqueue()
        assert began.wait(30)
        job.cancel()
        assert until_state(job, "cancelled", "completed").state == "cancelled"
    assert tidied.is_set()


def test_a_plain_job_that_cannot_be_stopped_completes(app: ph.Posthorse) -> None:
    began, go = threading.Event(), threading.Event()

    @app.job
    def plain() -> str:
        began.set()
        assert go.wait(30)
        return "done"

    with app.worker():
        job = plain.enqueue()
        assert began.wait(30)
        job.cancel()
        go.set()
        assert job.result(timeout=30) == "done"
    assert job.status().requested is None


@pytest.mark.parametrize("is_async", [True, False])
def test_pausing_in_the_midst_loses_and_doubles_nothing(app: ph.Posthorse, is_async: bool) -> None:
    seen: list[int] = []
    turns = threading.Semaphore(0)

    @app.job
    def long(ctx: ph.Context, count: int) -> list[int]:
        kept = ctx.keep("kept", list[int]())
        for batch in ctx.slices(range(count), size=10):
            assert turns.acquire(timeout=30)
            seen.extend(batch)
            kept.extend(batch)
        return kept

    @app.job
    async def along(ctx: ph.Context, count: int) -> list[int]:
        kept = ctx.keep("kept", list[int]())
        async for batch in ctx.slices(range(count), size=10):
            assert await asyncio.to_thread(turns.acquire, timeout=10)
            seen.extend(batch)
            kept.extend(batch)
        return kept

    with app.worker():
        job = along.enqueue(120) if is_async else long.enqueue(120)
        for _ in range(3):
            goal = len(seen) + 20
            turns.release(2)
            until(lambda goal=goal: len(seen) >= goal, what="two more slices")  # type: ignore[misc]  # its default
            assert job.pause() in ("processing", "paused")
            turns.release()  # for the slice that may have begun before the pause
            status = until_state(job, "paused")
            while turns.acquire(blocking=False):
                pass
            assert status.progress.done == len(seen)
            assert (status.attempt, status.interruptions, status.progress.eta) == (1, 0, None)
            assert job.resume() == "pending"
        turns.release(20)
        assert job.result(timeout=30) == list(range(120))
    assert seen == list(range(120))


def test_a_paused_job_runs_no_code_until_it_is_resumed(app: ph.Posthorse) -> None:
    @app.job
    def plain() -> str:
        return "ran"

    job = plain.enqueue()
    assert job.pause() == "paused"
    with app.worker():
        plain.enqueue().result(timeout=30)
        assert job.status().state == "paused"
        assert job.resume() == "pending"
        assert job.result(timeout=30) == "ran"


def test_a_resume_before_the_pause_took_effect_withdraws_it(app: ph.Posthorse) -> None:
    began, heard, go = threading.Event(), threading.Event(), threading.Event()
    attempts: list[int] = []

    @app.job
    def long(ctx: ph.Context) -> str:
        attempts.append(1)
        for _ in ctx.slices(range(3), size=1):
            began.set()
            if not go.is_set():
                until(lambda: ctx.stop_requested, what="the pause")
                heard.set()
                until(lambda: not ctx.stop_requested, what="its withdrawal")
        return "done"

    with app.worker():
        job = long.enqueue()
        assert began.wait(30)
        assert job.pause() == "processing"
        assert job.status().requested == "pause"
        assert heard.wait(30)
        go.set()
        assert job.resume() == "processing"
        assert job.status().requested is None
        assert job.result(timeout=30) == "done"
    assert len(attempts) == 1


def test_a_forced_pause_takes_the_job_away_from_whoever_runs_it(app: ph.Posthorse) -> None:
    began, go = threading.Event(), threading.Event()
    stopped = threading.Event()
    slices: list[int] = []

    @app.job
    def stuck(ctx: ph.Context) -> str:
        try:
            for batch in ctx.slices(range(4), size=1):
                began.set()
                assert go.wait(30)
                slices.extend(batch)
        except ph.Interrupted:
            stopped.set()
            raise
        return "done"

    with app.worker():
        job = stuck.enqueue()
        assert began.wait(30)
        assert job.pause(force=True) == "paused"
        assert job.status().state == "paused"
        go.set()
        assert stopped.wait(30)
        assert slices == [0]
        assert job.status().progress.done == 0
        job.resume()
        assert job.result(timeout=30) == "done"
    assert slices == [0, 0, 1, 2, 3]


def test_leaving_the_block_stops_a_sliced_job_at_a_border_and_spends_nothing(store_url: str) -> None:
    app = ph.Posthorse(store_url, lease="6s", grace="1h")  # it stops at once, and not at the end of the grace
    began = threading.Event()
    seen: list[int] = []

    @app.job
    def long(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(300), size=10):
            seen.extend(batch)
            if len(seen) == 30:
                began.set()
                until(lambda: ctx.stop_requested, what="the end of the block")
        return len(seen)

    with app.worker():
        job = long.enqueue()
        assert began.wait(30)
    status = job.status()
    assert (status.state, status.attempt, status.interruptions) == ("pending", 1, 0)
    assert status.reason == "released by its worker"
    assert status.progress.done == len(seen) == 30
    with app.worker():
        assert job.result(timeout=30) == 300
    assert seen == list(range(300))
    app.close()


def test_leaving_the_block_lets_a_plain_job_end(app: ph.Posthorse) -> None:
    began = threading.Event()

    @app.job
    async def plain() -> str:
        began.set()
        await asyncio.sleep(0.3)
        return "done"

    with app.worker():
        job = plain.enqueue()
        assert began.wait(30)
    assert job.status().state == "completed"
    assert job.result(timeout=1) == "done"


@pytest.mark.parametrize("is_async", [True, False])
def test_after_the_grace_what_still_runs_goes_back_unspent(store_url: str, is_async: bool) -> None:
    app = ph.Posthorse(store_url, lease="6s", grace="100ms")
    began, go = threading.Event(), threading.Event()
    attempts: list[int] = []

    @app.job(kind="slow")
    def slow() -> str:
        attempts.append(1)
        began.set()
        if len(attempts) == 1:
            assert go.wait(30)
        return f"attempt {len(attempts)}"

    @app.job(kind="aslow")
    async def aslow() -> str:
        attempts.append(1)
        began.set()
        if len(attempts) == 1:
            await asyncio.sleep(3600)
        return f"attempt {len(attempts)}"

    with app.worker():
        job = aslow.enqueue() if is_async else slow.enqueue()
        assert began.wait(30)
    status = job.status()
    assert (status.state, status.attempt, status.interruptions) == ("pending", 1, 0)
    go.set()
    with app.worker():
        assert job.result(timeout=30) == "attempt 2"
    app.close()


def test_a_job_that_ends_while_it_is_given_back_does_not_disturb_the_others(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = ph.Posthorse(store_url, lease="6s", grace="100ms")
    go, are_over = threading.Event(), threading.Semaphore(0)
    begun = threading.Barrier(4)
    is_first = True

    @app.job
    def slow(number: int) -> int:
        if is_first:
            begun.wait(30)
            assert go.wait(30)
            are_over.release()
        return number

    real = Settler._write_batch  # pyright: ignore[reportPrivateUsage]

    async def settle_slowly(settler: Settler, batch: Sequence[Decided], logs: LogChanges) -> None:
        go.set()
        for _ in range(3):
            assert await asyncio.to_thread(are_over.acquire, timeout=30)
        for _ in range(3):
            are_over.release()
        await asyncio.to_thread(threading.Event().wait, 0.05)  # so that their slots notice it, too
        await real(settler, batch, logs)

    monkeypatch.setattr(Settler, "_write_batch", settle_slowly)
    with app.worker():
        jobs = app.enqueue_many([slow.bind(number) for number in range(3)])
        begun.wait(30)
    monkeypatch.undo()
    is_first = False
    with app.worker():
        assert [job.result(timeout=30) for job in jobs] == [0, 1, 2]
    app.close()


def test_an_attempt_that_knows_of_its_loss_saves_nothing(app: ph.Posthorse) -> None:
    """If the same runner got the job again after a failover, the store could not tell the attempts apart."""

    @app.job(max_attempts=1)
    def careless(ctx: ph.Context, told: bool) -> None:
        if told:
            ctx._journal.stop.ask("lost")  # pyright: ignore[reportPrivateUsage]
        ctx.set_progress(5, 10)
        ctx.checkpoint()

    with app.worker():
        quiet, lost = careless.enqueue(told=False), careless.enqueue(told=True)
        quiet.result(timeout=30)
        assert quiet.status().progress.done == 5
        assert lost.status().progress.done == 0


def test_an_attempt_is_interrupted_once_however_often_its_loss_is_noticed(app: ph.Posthorse) -> None:
    @app.job
    async def job() -> None: ...

    heard: list[bool] = []
    claimed = Claimed("01936f5e-7c1a-7d2b-8e3f-0123456789ab", 1, 1, 1, 0, 0, 0, None, None, None)
    running = RunningJob(claimed, Lane("default", "job"), app.registry["job"], cast("Executor", None))
    running.lose()  # before it can hear
    running.heard = lambda _, is_urgent: heard.append(is_urgent)
    for _ in range(3):
        running.lose()
    assert (heard, running.stop.request) == ([True], "lost")


def test_jobs_that_end_one_after_the_other_after_the_grace_are_all_written(store_url: str) -> None:
    """Several jobs end their clean-up at different moments; each outcome must still be written."""
    app = ph.Posthorse(store_url, lease="6s", grace="100ms")
    began = threading.Barrier(4)
    runs: list[int] = []

    @app.job
    async def stubborn(pause: float) -> float:
        runs.append(1)
        await asyncio.to_thread(began.wait, 10)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(pause)
        return pause

    with app.worker():
        jobs = app.enqueue_many([stubborn.bind(0.1 * number) for number in range(1, 4)])
        began.wait(30)
    assert [job.result(timeout=1) for job in jobs] == [pytest.approx(0.1 * number) for number in range(1, 4)]
    assert len(runs) == 3
    app.close()


def test_cancel_and_completion_race_and_one_of_them_wins(app: ph.Posthorse) -> None:
    @app.job
    async def quick(number: int) -> int:
        await asyncio.sleep(0)
        return number

    with app.worker(concurrency=4):
        for number in range(60):
            job = quick.enqueue(number)
            try:
                job.cancel()
            except ph.InvalidTransition:
                assert job.result(timeout=30) == number
            status = until_state(job, "completed", "cancelled")
            assert status.finished_at is not None
            assert job.status() == status


def test_versions_of_a_job_only_ever_go_forward(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def bad() -> None:
        raise ValueError

    with app.worker():
        job = bad.enqueue()
        until_state(job, "failed")
        job.retry()
        until_state(job, "failed")
    from posthorse.store.operations.read import events

    versions = [event.version for event in app.store.read(events(job.id))]
    assert all(later > earlier for earlier, later in pairwise(versions))


def test_what_is_still_being_decided_as_the_worker_ends_is_written(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()

    @app.job(max_attempts=1)
    def bad(number: int) -> None:
        began.set()
        until(lambda: stopping.is_set(), what="the end of the worker")
        raise ValueError

    stopping = threading.Event()
    real = Completer.look_up_and_put

    async def look_slowly(completer: Completer, running: RunningJob, outcome: Outcome) -> None:
        await asyncio.sleep(0.5)  # longer than what else there is to do
        await real(completer, running, outcome)

    monkeypatch.setattr(Completer, "look_up_and_put", look_slowly)
    worker = app.worker(concurrency=3)
    with worker:
        jobs = app.enqueue_many([bad.bind(number) for number in range(3)])
        assert began.wait(30)
        until(lambda: all(job.status().state == "processing" for job in jobs))
        worker.stop()
        stopping.set()
    assert [job.status().state for job in jobs] == ["failed"] * 3


def test_a_cancel_is_heard_by_a_job_that_was_asked_to_pause_before(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    began = threading.Event()

    @app.job
    async def long(ctx: ph.Context) -> None:
        began.set()
        await asyncio.to_thread(until, lambda: ctx.stop_requested)
        asked.set()
        await asyncio.sleep(3600)

    asked = threading.Event()
    with app.worker():
        job = long.enqueue()
        assert began.wait(30)
        job.pause()
        assert asked.wait(30)
        job.cancel()
        until_state(job, "cancelled")
    assert "did not end when it was to" not in caplog.text  # it obeyed, and need not be ended by force
