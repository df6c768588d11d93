"""What a runner claims ahead of a free slot, or as it stops, goes back unspent; what it did already does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import pytest

import posthorse as ph
from posthorse.errors import OutcomeUnknown
from posthorse.store.base import Operation
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.read import running_count
from posthorse.store.store import Store
from posthorse.worker import loop
from posthorse.worker.claiming import Claiming
from posthorse.worker.prefetch import Prefetch
from tests.waiting import until, until_state


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten jobs are claimed ahead, however long jobs took, and stay until the worker stops."""
    monkeypatch.setattr(Prefetch, "allowance", lambda _: 10)
    monkeypatch.setattr(loop, "LISTEN_EVERY", 3600.0)


@pytest.mark.usefixtures("ahead")
def test_what_was_claimed_ahead_goes_back_as_the_worker_stops_and_not_later(app: ph.Posthorse) -> None:
    began, go = threading.Event(), threading.Event()

    @app.job
    def wait() -> None:
        began.set()
        assert go.wait(30)

    first, *others = app.enqueue_many([wait.bind() for _ in range(4)])
    worker = app.worker(concurrency=1)
    with worker:
        assert began.wait(30)
        assert app.store.read(running_count()) == 4
        worker.stop()
        until(lambda: app.store.read(running_count()) == 1, what="what did not begin to go back")
        assert [job.status().state for job in others] == ["pending"] * 3
        go.set()
    assert first.status().state == "completed"
    assert [(job.status().state, job.status().interruptions) for job in others] == [("pending", 0)] * 3


def test_a_claim_that_arrives_while_the_worker_stops_goes_back(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    arrived = threading.Event()

    @app.job
    async def note(number: int) -> None:
        ran.append(number)

    real = Claiming.next

    async def claim(self: Claiming, room: int, *, free: int, is_empty: bool) -> list[Claimed]:
        claimed = await real(self, room, free=free, is_empty=is_empty)
        if claimed:
            worker.stop()
            await asyncio.sleep(0)  # the loop hears of it first
            arrived.set()
        return claimed

    monkeypatch.setattr(Claiming, "next", claim)
    jobs = app.enqueue_many([note.bind(number) for number in range(3)])
    worker = app.worker(concurrency=5)
    with worker:
        assert arrived.wait(30)
    assert ran == []
    assert [(job.status().state, job.status().interruptions) for job in jobs] == [("pending", 0)] * 3


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_lost_claim_reply_what_waits_to_be_written_is_not_given_back(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The store still counts it among what the runner holds, and nothing runs for it any more."""
    ran: list[str] = []

    @app.job(max_attempts=1)
    async def note(name: str) -> None:
        ran.append(name)
        if fails:
            raise ValueError(name)

    arun = cast("Callable[[Store, Operation[object]], Awaitable[object]]", Store.arun)
    claims: list[object] = []
    has_looked = asyncio.Event()

    async def shaky(self: Store, operation: Operation[object]) -> object:
        name = cast("partial[object]", operation.start).func.__name__
        if name in ("complete", "settle"):
            await has_looked.wait()
        claimed = await arun(self, operation)
        if name == "_claim" and claimed:
            claims.append(claimed)
            if len(claims) == 2:
                raise OutcomeUnknown("the reply was lost")
        if name == "give_back":
            has_looked.set()
        return claimed

    first, second = app.enqueue_many([note.bind("first"), note.bind("second")])
    monkeypatch.setattr(Store, "arun", shaky)
    with app.worker(concurrency=1):
        for job in (first, second):
            until_state(job, "failed" if fails else "completed")
    assert ran == ["first", "second"]
    assert [job.status().interruptions for job in (first, second)] == [0, 0]


@pytest.mark.usefixtures("ahead")
def test_jobs_with_limits_are_not_claimed_ahead_of_a_free_slot(app: ph.Posthorse) -> None:
    """A place behind a gate that a job takes while it only waits here would be a place less for others."""
    began, go = threading.Event(), threading.Event()

    @app.job(concurrency=5)
    def limited() -> None:
        began.set()
        assert go.wait(30)

    jobs = app.enqueue_many([limited.bind() for _ in range(4)])
    with app.worker(concurrency=1):
        assert began.wait(30)
        assert app.store.read(running_count()) == 1
        go.set()
        for job in jobs:
            job.result(timeout=30)
