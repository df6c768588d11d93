"""Throttles: long jobs wait between slices, with their worker for a moment and without it for longer."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

import posthorse as ph
from posthorse.clock import monotonic
from posthorse.rules.tuning import Tuning
from posthorse.worker.checkpoints.throttles.measuring import measuring_for
from posthorse.worker.checkpoints.throttles.server import ServerOfEngine, ServerOfStore, server_measures
from tests.waiting import until, until_state
from tests.worker import isolated_jobs

QUICK = Tuning(throttle_interval=0.05, throttle_in_place=0.3, throttle_away=1.0)
LAG = "throttled: replica lag is 14 s, 10 s are allowed"


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.2s", tuning=QUICK)
    yield app
    app.close()


class Fake:
    """A figure that a test sets."""

    def __init__(self, app: ph.Posthorse, name: str, value: float) -> None:
        self.value = value
        self.looks = 0
        measuring_for(app.store).measures[name] = self.measure  # type: ignore[index]  # one of its names

    def measure(self, _of: str) -> float:
        self.looks += 1
        return self.value


@pytest.mark.parametrize("is_async", [True, False])
def test_a_job_leaves_while_a_signal_is_busy_and_goes_on_when_it_is_calm(app: ph.Posthorse, is_async: bool) -> None:
    seen: list[int] = []
    lag = Fake(app, "replica_lag", 0.0)
    app.queue("reports", throttle=ph.Throttle(replica_lag="10s"))

    @app.job(queue="reports")
    def loop(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(6), size=1):
            seen.extend(batch)
            if batch[0] == 2:
                lag.value = 14.2
                time.sleep(0.1)
        return ctx.progress.done

    @app.job(queue="reports")
    async def aloop(ctx: ph.Context) -> int:
        async for batch in ctx.slices(range(6), size=1):
            seen.extend(batch)
            if batch[0] == 2:
                lag.value = 14.2
                await asyncio.sleep(0.1)
        return ctx.progress.done

    @app.job
    async def other() -> str:
        return "ran"

    with app.worker(concurrency=1):
        job = aloop.enqueue() if is_async else loop.enqueue()
        status = until_state(job, "scheduled")
        assert status.reason == LAG
        assert seen == [0, 1, 2] or seen == [0, 1, 2, 3]  # the reading may be of a moment ago
        assert job.why().leading.code == "throttled"
        assert other.enqueue().result(timeout=30) == "ran"
        lag.value = 0.0
        assert job.result(timeout=30) == 6
    assert seen == list(range(6))
    assert (job.status().attempt, job.status().interruptions) == (1, 0)
    snoozed = [event.reason for event in job.events() if event.name == "snoozed"]
    assert snoozed
    assert set(snoozed) == {LAG}


def test_a_short_wait_is_spent_with_the_worker(store_url: str) -> None:
    app = ph.Posthorse(store_url, lease="6s", tuning=Tuning(throttle_interval=0.05, throttle_in_place=20))
    lag = Fake(app, "replica_lag", 14.2)

    @app.job
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(3), size=1, throttle=ph.Throttle(replica_lag="10s")):
            pass
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        until(lambda: lag.looks >= 3)
        assert job.status().progress.done == 0
        lag.value = 1.0
        assert job.result(timeout=30) == 3
    assert "snoozed" not in [event.name for event in job.events()]
    app.close()


def test_a_stop_is_heard_during_a_short_wait(store_url: str) -> None:
    app = ph.Posthorse(store_url, lease="6s", tuning=Tuning(throttle_in_place=60))

    @app.job
    def loop(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(3), size=1, throttle=lambda: 50):
            pass

    with app.worker():
        job = loop.enqueue()
        until_state(job, "processing")
        job.pause()
        assert until_state(job, "paused").reason == "paused on request"
    app.close()


def test_a_change_of_the_queue_reaches_a_running_job(app: ph.Posthorse) -> None:
    Fake(app, "load", 9.0)
    began = threading.Event()

    @app.job(queue="reports")
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(1000), size=1):
            began.set()
            time.sleep(0.01)
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        assert began.wait(30)
        app.queue("reports").set(throttle=ph.Throttle(load=8))
        status = until_state(job, "scheduled")
        assert status.reason == "throttled: the load is 9.0, 8 are allowed"
        app.queue("reports").reset("throttle")
        until_state(job, "processing")
        done = job.status().progress.done
        until(lambda: job.status().progress.done > done + 5)
        job.cancel()


@pytest.mark.parametrize("is_async_job", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_function_says_when_to_wait_and_why(app: ph.Posthorse, is_async_job: bool, is_async: bool) -> None:
    answers: list[object] = [False, "billing is busy"]

    def ask() -> object:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def aask() -> object:
        await asyncio.sleep(0)
        return ask()

    throttle: Callable[[], object] = aask if is_async else ask

    @app.job
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(4), size=2, throttle=throttle):
            pass
        return ctx.progress.done

    @app.job
    async def aloop(ctx: ph.Context) -> int:
        async for _ in ctx.slices(range(4), size=2, throttle=throttle):
            pass
        return ctx.progress.done

    with app.worker():
        job = aloop.enqueue() if is_async_job else loop.enqueue()
        status = until_state(job, "scheduled")
        assert (status.reason, status.progress.done) == ("throttled: billing is busy", 2)
        answers[:] = [None]
        assert job.result(timeout=30) == 4


def test_a_function_that_fails_is_logged_and_calm_and_one_that_snoozes_steers(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise ValueError("no answer")

    def puts_off() -> bool:
        raise ph.Snooze("1h", "not today")

    @app.job
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(3), size=1, throttle=broken):
            pass
        return ctx.progress.done

    @app.job
    def put_off(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(3), size=1, throttle=puts_off):
            pass

    with app.worker(), caplog.at_level(logging.ERROR):
        assert loop.enqueue().result(timeout=30) == 3
        assert until_state(put_off.enqueue(), "scheduled").reason == "snoozed: not today"
    assert caplog.text.count("counts as calm until it works again") == 1


@pytest.fixture
def hanging() -> Iterator[str]:
    """Return an address that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/ok"


@pytest.mark.parametrize("when_silent", ["calm", "busy"])
def test_a_probe_that_hangs_counts_as_said(sqlite_url: str, hanging: str, when_silent: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s", tuning=QUICK)

    @app.job(queue="reports")
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(20), size=1):
            pass
        return ctx.progress.done

    app.queue("reports").set(throttle={"probe": hanging, "when_silent": when_silent})
    with app.worker():
        job = loop.enqueue()
        if when_silent == "busy":
            assert until_state(job, "scheduled").reason == f"throttled: {hanging} is silent"
            app.queue("reports").reset()
        assert job.result(timeout=8) == 20  # it does not wait for the probe before each slice
    app.close()


def test_items_over_two_processes_keep_the_rate(store_url: str, tmp_path: Path) -> None:
    app, rate, size, count = isolated_jobs.app, 40, 10, 40
    app.use_url(store_url)
    app.queue("counted").set(throttle=f"{rate}/s")
    notes = tmp_path / "notes"
    notes.mkdir()
    began = monotonic()
    with app.worker(concurrency=2):
        jobs = [
            isolated_jobs.noted_slices.using(queue="counted").enqueue(str(notes / f"{number}"), count, size)
            for number in range(2)
        ]
        for job in jobs:
            assert job.result(timeout=60) == count
    assert monotonic() - began >= (2 * count - 2 * size - rate) / rate
    moments = sorted(float(line) for file in notes.iterdir() for line in file.read_text().split())
    assert len(moments) == 2 * count
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            within = moments[last] - start + 0.05  # a slice is noted a moment after it was let through
            assert last - first + 1 <= rate * within + rate + 2 * size
    app.close()


def test_a_change_reaches_a_child_process_also_if_the_throttle_is_code(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = isolated_jobs.app
    app.use_url(sqlite_url)
    monkeypatch.setenv(isolated_jobs.HELD_BY, str(tmp_path / "held"))
    queue = app.queue("held")
    with app.worker():
        job = isolated_jobs.slow_slices.using(queue="held").enqueue(200)
        until(lambda: job.status().progress.done >= 3)
        (tmp_path / "held").touch()
        status = until_state(job, "scheduled")
        assert status.reason == "throttled: a file holds it"
        (tmp_path / "held").unlink()
        queue.set(throttle="1000000/s")
        job.cancel()
    app.close()


def test_signals_of_the_server_of_a_store_and_of_an_engine(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    app = ph.Posthorse(postgres_url)
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    for server in (ServerOfStore(app.store), ServerOfEngine(engine)):
        state = server.state()
        assert state is not None
        assert state.log_position is not None
        measures = server_measures(server)
        assert measures["replica_lag"]("") == 0
        assert (measures["oldest_transaction"]("") or 0) >= 0
        assert measures["wal_rate"]("") is None
        time.sleep(0.01)
        assert (measures["wal_rate"]("") or 0.0) >= 0
        assert measures["dead_rows"]("pg_catalog.no_such_table") is None
    assert caplog.text.count("the server has no table") == 2
    engine.dispose()
    app.close()


def test_a_role_without_rights_and_a_file_are_told_once_and_calm(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = ph.Posthorse(sqlite_url)
    app.migrate()
    measures = server_measures(ServerOfStore(app.store))
    for _ in range(2):
        assert measures["replica_lag"]("") is None
        assert measures["oldest_transaction"]("") is None
    assert caplog.text.count("the server is not PostgreSQL") == 2
    app.close()


def test_signals_of_this_machine_are_measured(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)
    measures = measuring_for(app.store).measures
    load, memory = measures["load"](""), measures["memory"]("")
    assert load is not None
    assert load >= 0
    assert memory is not None
    assert 0 < memory < 1
    app.close()


def test_a_throttled_job_leaves_a_drain_at_once(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, tuning=Tuning(throttle_in_place=0.0))

    @app.job
    def loop(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(30), size=10, throttle="10/s"):
            pass
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        assert until_state(job, "scheduled").reason == "throttled: 10/s items are allowed"
        assert job.result(timeout=30) == 30
    app.close()
