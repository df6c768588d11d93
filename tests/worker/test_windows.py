"""Windows: a running job that can stop leaves when its queue closes, and goes on where it was when the queue opens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.worker.base.stop import StopSignal
from tests.waiting import until, until_state
from tests.worker import isolated_jobs

ALL_DAY = "00:00-24:00"


def closed_now() -> tuple[str, str]:
    """Return a window that is closed for the next hours, and what it says of its opening."""
    opens = datetime.now(UTC) + timedelta(hours=3)
    return f"{opens:%H}:00-{opens + timedelta(hours=1):%H}:00", f"{opens:%H}:00 UTC"


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.2s")
    yield app
    app.close()


@pytest.mark.parametrize("is_async", [True, False])
def test_a_running_job_leaves_when_its_queue_closes_and_goes_on_when_it_opens(
    app: ph.Posthorse, is_async: bool
) -> None:
    seen: list[int] = []

    @app.job(queue="night")
    def loop(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(150), size=1):
            seen.extend(batch)
            time.sleep(0.01)
        return ctx.progress.done

    @app.job(queue="night")
    async def aloop(ctx: ph.Context) -> int:
        async for batch in ctx.slices(range(150), size=1):
            seen.extend(batch)
            await asyncio.sleep(0.01)
        return ctx.progress.done

    window, opens = closed_now()
    night = app.queue("night")
    with app.worker():
        job = aloop.enqueue() if is_async else loop.enqueue()
        until(lambda: len(seen) >= 3)
        night.set(window=window)
        status = until_state(job, "pending")
        assert status.reason == f"its queue is closed until {opens}"
        assert "is closed: it runs" in (status.waits_for or "")
        assert 0 < status.progress.done < 150
        assert len(seen) == status.progress.done
        time.sleep(1)  # the worker looks for jobs several times, and finds it in a closed queue
        assert job.status().state == "pending"
        night.set(window=ALL_DAY)
        assert job.result(timeout=30) == 150
    assert seen == list(range(150))
    assert (job.status().attempt, job.status().interruptions) == (1, 0)
    released = [event for event in job.events() if event.name == "released"]
    assert [event.reason for event in released] == [f"its queue is closed until {opens}"]


def test_an_isolated_job_leaves_too(sqlite_url: str) -> None:
    isolated_jobs.app.use_url(sqlite_url)
    window, opens = closed_now()
    queue = isolated_jobs.app.queue("default")
    with isolated_jobs.app.worker():
        job = isolated_jobs.slow_slices.enqueue(60)
        until(lambda: job.status().progress.done >= 3, what="the first slices")
        queue.set(window=window)
        status = until_state(job, "pending")
        assert status.reason == f"its queue is closed until {opens}"
        assert 3 <= status.progress.done < 60
        queue.reset()
        assert job.result(timeout=30) == 60
    isolated_jobs.app.close()


def test_code_without_checkpoints_runs_to_its_end(app: ph.Posthorse) -> None:
    began, may_end = threading.Event(), threading.Event()

    @app.job(queue="night")
    def plain() -> str:
        began.set()
        assert may_end.wait(30)
        return "done"

    @app.job(queue="night")
    def long(ctx: ph.Context) -> None:
        while True:
            ctx.checkpoint()
            time.sleep(0.01)

    with app.worker(concurrency=2):
        job, beside = plain.enqueue(), long.enqueue()
        assert began.wait(30)
        until_state(beside, "processing")
        app.queue("night").set(window=closed_now()[0])
        until_state(beside, "pending")
        assert job.status().state == "processing"
        may_end.set()
        assert job.result(timeout=30) == "done"


def test_a_queue_that_opens_again_before_the_job_heard_lets_it_go_on(app: ph.Posthorse) -> None:
    is_asked = threading.Event()

    @app.job(queue="night")
    def loop(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(2), size=1):
            if batch[0] == 0:
                until(lambda: ctx.stop_requested, what="the window closes")
                is_asked.set()
                until(lambda: not ctx.stop_requested, what="the window opens")
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        until_state(job, "processing")
        app.queue("night").set(window=closed_now()[0])
        assert is_asked.wait(30)
        app.queue("night").set(window=ALL_DAY)
        assert job.result(timeout=30) == 2
    assert "released" not in [event.name for event in job.events()]


@pytest.mark.parametrize(("ends", "minute"), [("24:00", 59), ("00:30", 29)])
def test_the_clock_of_the_store_closes_a_window_amid_a_slice(store_url: str, ends: str, minute: int) -> None:
    clock = Clock()
    zone, shift = zone_near_midnight(minute)
    clock.advance(shift)
    app = ph.Posthorse(store_url, lease="6s", poll="0.2s", clock=clock)
    app.queue("night", window=f"22:00-{ends} {zone}")
    seen: list[int] = []

    @app.job(queue="night")
    def loop(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(400), size=1):
            seen.extend(batch)
            time.sleep(0.01)
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        until(lambda: seen)
        status = until_state(job, "pending")
    assert status.reason == f"its queue is closed until 22:00 {zone}"
    assert status.progress.done == len(seen) < 400
    clock.advance(timedelta(hours=23))
    with app.worker():
        assert job.result(timeout=30) == 400
    assert seen == list(range(400))
    app.close()


def zone_near_midnight(minute: int) -> tuple[str, timedelta]:
    """Return a zone and how far to move the clock, less than two hours, so that it is two seconds before the full
    minute after `minute`, in the hour before or after midnight there.
    """
    now = datetime.now(UTC)
    hour = 23 if minute == 59 else 0
    ahead = (hour - now.hour + 12) % 24 - 12
    at = (now + timedelta(hours=ahead)).replace(minute=minute, second=58, microsecond=0) - timedelta(hours=ahead)
    return f"Etc/GMT{-ahead:+d}", at - now


def test_what_is_stronger_than_a_window_stays() -> None:
    stop = StopSignal()
    stop.ask("yield")
    stop.ask("window", "its queue is closed until 22:00 UTC")
    assert stop.stopped().reason == "its queue is closed until 22:00 UTC"
    stop.ask("shutdown")
    assert (stop.request, stop.reason) == ("shutdown", None)
    stop.ask("window", "closed")
    stop.withdraw()
    assert stop.request == "shutdown"
