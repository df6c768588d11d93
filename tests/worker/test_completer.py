"""The completer: what a runner writes about its jobs while the store is away, and about jobs it no longer holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import pytest

import posthorse as ph
from posthorse.clock import monotonic
from posthorse.errors import StoreUnreachable
from posthorse.store.base import Operation
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import retire
from posthorse.store.store import Store
from posthorse.worker.running import completer
from posthorse.worker.running.deciding import Decided
from posthorse.worker.running.settler import Settler
from tests.waiting import until

Arun = Callable[[Store, Operation[object]], Awaitable[object]]


def name_of(operation: Operation[object]) -> str:
    return cast("partial[object]", operation.start).func.__name__


@pytest.fixture
def brief(app: ph.Posthorse) -> ph.Posthorse:
    """Return an application whose workers notice a lost lease soon, and wait for nothing else."""
    return ph.Posthorse(app.settings.url, lease="3s", heartbeat="100ms", poll="100ms", grace="1h")


def test_an_attempt_that_was_lost_writes_nothing_of_how_it_ended(
    brief: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the same runner got the job again, as after a failover, the store could not tell the attempts apart."""
    began, go = threading.Event(), threading.Event()
    settled: list[object] = []

    def put(self: Settler, decided: Decided) -> None:
        settled.append(decided.outcome)

    monkeypatch.setattr(Settler, "put", put)

    @brief.job(max_attempts=1)
    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            go.set()
            raise ValueError("as it was interrupted")

    job = work.enqueue()
    worker = brief.worker(concurrency=1)
    with worker:
        assert began.wait(30)
        [runner] = brief.store.read(workers())
        brief.store.run(retire(runner.id))
        assert go.wait(30)
        worker.stop()
        assert worker.has_ended(timeout=30)
    assert settled == []
    assert job.status().error is None
    brief.close()


def test_what_cannot_be_written_is_tried_for_no_longer_than_the_lease(
    brief: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then others have the job; trying any longer would occupy the slot, and the runner, for ever."""
    ran: list[int] = []
    tries: list[float] = []
    arun = cast("Arun", Store.arun)
    ahead = 0.0

    async def away(self: Store, operation: Operation[object]) -> object:
        nonlocal ahead
        if name_of(operation) == "complete" and len(ran) == 1:
            tries.append(monotonic())
            ahead = 3600.0 * (len(tries) - 1)  # with the second try, the time is over
            raise StoreUnreachable("away")
        return await arun(self, operation)

    @brief.job
    async def work() -> int:
        ran.append(1)
        return len(ran)

    monkeypatch.setattr(Store, "arun", away)
    monkeypatch.setattr(completer, "monotonic", lambda: monotonic() + ahead)
    job = work.enqueue()
    with brief.worker(concurrency=1):
        until(lambda: len(ran) == 2, what="a new incarnation that runs it again")
        assert job.result(timeout=30) == 2
    assert len(tries) == 2
    brief.close()
