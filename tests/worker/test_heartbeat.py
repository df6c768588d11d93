"""The pulse of a runner and the heart that renews it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import pytest

import posthorse as ph
from posthorse.clock import monotonic
from posthorse.errors import StoreUnreachable
from posthorse.store.base import Operation
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import Runner, register, retire
from posthorse.store.store import Store
from posthorse.worker.heartbeat import Heart, Pulse
from tests.waiting import until

RUNNER = Runner("0b0f0000-0000-4000-8000-000000000001", "w", "h", 1, "0", 1, (), ())


@pytest.fixture
def store(sqlite_url: str) -> Store:
    store = Store(sqlite_url)
    store.run(register(RUNNER, lease=6_000_000))
    return store


def test_a_pulse_is_lost_when_its_lease_is_over_and_not_before() -> None:
    pulse = Pulse("r", 3600, running=lambda: 0)

    def states() -> Iterator[bool]:
        yield pulse.is_lost
        pulse.renew(time.monotonic() - 0.001)
        yield pulse.is_lost
        pulse.renew(time.monotonic() + 60)
        yield pulse.is_lost
        pulse.is_dead = True
        yield pulse.is_lost

    assert list(states()) == [False, True, False, True]


def test_whoever_listens_hears_until_when_the_lease_holds() -> None:
    heard: list[float] = []
    pulse = Pulse("r", 1, running=lambda: 0, renewed=heard.append)
    pulse.renew(12345.0)
    assert heard == [12345.0]


def test_a_heart_renews_leases_and_tells_how_many_jobs_run(store: Store) -> None:
    renewed = threading.Semaphore(0)
    pulse = Pulse(RUNNER.id, 6, running=lambda: 3, renewed=lambda until: renewed.release())
    heart = Heart(store, lease=6, heartbeat=0.05)
    heart.add(pulse)
    heart.start()
    assert renewed.acquire(timeout=30)
    assert renewed.acquire(timeout=30)
    heart.stop()
    (row,) = store.read(workers())
    assert row.running == 3
    store.close()


def test_a_runner_that_was_given_up_learns_that_it_is_dead(store: Store) -> None:
    store.run(retire(RUNNER.id))
    pulse = Pulse(RUNNER.id, 6, running=lambda: 0)
    heart = Heart(store, lease=6, heartbeat=0.05)
    heart.add(pulse)
    heart.start()
    until(lambda: pulse.is_dead, what="the pulse is dead")
    heart.stop()
    store.close()


def test_a_runner_that_may_not_beat_is_not_renewed(store: Store) -> None:
    beats = threading.Semaphore(0)
    renewals: list[float] = []

    def may_beat() -> bool:
        beats.release()
        return False

    silent = Pulse(RUNNER.id, 6, running=lambda: 0, may_beat=may_beat, renewed=renewals.append)
    heart = Heart(store, lease=6, heartbeat=0.02)
    heart.add(silent)
    heart.start()
    assert beats.acquire(timeout=30)
    assert beats.acquire(timeout=30)
    heart.stop()
    assert renewals == []
    store.close()


def test_a_failed_beat_is_tried_again_soon(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried five times between two beats: a lease is lost only if all of them fail."""
    renewed = threading.Event()
    tries: list[float] = []
    run = store.run

    def shaky(operation: object) -> object:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise StoreUnreachable("away") if len(tries) < 3 else RuntimeError("something else")
        return run(operation)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(store, "run", shaky)
    heart = Heart(store, lease=60, heartbeat=1.0)
    heart.add(Pulse(RUNNER.id, 60, running=lambda: 0, renewed=lambda until: renewed.set()))
    heart.start()
    assert renewed.wait(30)
    heart.stop()
    assert all(later - earlier < 0.9 for earlier, later in pairwise(tries))
    store.close()


def test_an_embedded_worker_is_on_the_list_while_it_works(store_url: str) -> None:
    app = ph.Posthorse(store_url, lease="6s")

    @app.job(aliases=["old"])
    def new() -> None: ...

    with app.worker(queues=["mail"], concurrency=3):
        (row,) = app.store.read(workers())
        assert (row.concurrency, row.queues, row.kinds) == (3, ["mail"], ["new", "old"])
    assert app.store.read(workers()) == []
    app.close()


def test_a_lease_is_counted_from_when_its_beat_was_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store counts from its arrival: a runner that counted from the reply would believe in it for longer."""
    ahead = 0.0
    ends: list[float] = []
    renewed = threading.Event()
    run = store.run

    def slow(operation: object) -> object:
        nonlocal ahead
        answer: object = run(cast("Operation[object]", operation))
        ahead += 100.0
        return answer

    def note(until: float) -> None:
        ends.append(until - monotonic())
        renewed.set()

    monkeypatch.setattr(store, "run", slow)
    monkeypatch.setattr("posthorse.worker.heartbeat.monotonic", lambda: monotonic() + ahead)
    heart = Heart(store, lease=60, heartbeat=0.05)
    heart.add(Pulse(RUNNER.id, 60, running=lambda: 0, renewed=note))
    heart.start()
    assert renewed.wait(30)
    heart.stop()
    assert ends[0] <= 60
    store.close()
