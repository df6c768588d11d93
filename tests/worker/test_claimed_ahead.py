"""Jobs claimed ahead of a free slot, or while a runner stops, go back unspent; those that already ran do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import pytest

import posthorse as ph
from posthorse.errors import OutcomeUnknown
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation
from posthorse.store.operations.read import running_count
from posthorse.store.store import Store
from posthorse.worker.claiming.claim_values import Claim, ClaimRequest
from posthorse.worker.claiming.claiming import Claiming
from posthorse.worker.claiming.prefetch import Prefetch
from tests.waiting import until, until_state


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim ten jobs ahead, however long jobs took; without polls for requests, they stay until the stop."""
    monkeypatch.setattr(Prefetch, "allowance", lambda _: 10)


@pytest.mark.usefixtures("ahead")
@pytest.mark.tuning(request_interval=3600.0)
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

    real = Claiming.claim

    async def claim(self: Claiming, request: ClaimRequest) -> Claim:
        claimed = await real(self, request)
        if claimed.jobs:
            worker.stop()
            await asyncio.sleep(0)  # the loop learns of it first
            arrived.set()
        return claimed

    monkeypatch.setattr(Claiming, "claim", claim)
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
@pytest.mark.tuning(request_interval=3600.0)
def test_jobs_with_limits_are_not_claimed_ahead_of_a_free_slot(app: ph.Posthorse) -> None:
    """A place that a job takes behind a gate while it only waits here would be lost to others."""
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


@pytest.mark.usefixtures("ahead")
@pytest.mark.tuning(request_interval=3600.0)
def test_more_is_claimed_when_half_of_what_was_claimed_ahead_is_gone(app: ph.Posthorse) -> None:
    """Not when all of it is, because slots would be idle; and not for each job, because each claim is a commit."""
    go = threading.Event()

    @app.job
    def work(number: int) -> None:
        assert number not in (2, 7) or go.wait(30)
        if number == 2:
            go.clear()

    jobs = app.enqueue_many([work.bind(number) for number in range(30)])
    with app.worker(concurrency=1):  # eleven at once: one that runs, and ten ahead
        until_state(jobs[1], "completed")
        assert [job.status().state for job in jobs[10:12]] == ["processing", "pending"]
        go.set()
        until_state(jobs[6], "completed")
        until_state(jobs[11], "processing")
        assert jobs[8].status().state == "processing"
        go.set()
        jobs[-1].result(timeout=30)


def test_a_slot_whose_code_goes_on_after_its_job_was_given_up_is_not_free(store_url: str) -> None:
    # The patience is longer than the pause between two polls: it counts from the first.
    app = ph.Posthorse(store_url, lease="6s", grace="700ms")
    began, go = threading.Event(), threading.Event()

    @app.job
    def stuck() -> None:
        began.set()
        assert go.wait(30)

    @app.job
    def behind() -> None: ...

    job, other = stuck.enqueue(), behind.enqueue()
    with app.worker(concurrency=1):
        assert began.wait(30)
        job.cancel()
        until_state(job, "cancelled")
        threading.Event().wait(0.3)  # for a claim, which should not come
        assert other.status().state == "pending"
        go.set()
        other.result(timeout=30)
    app.close()


@pytest.mark.parametrize(
    "tuning", [Tuning(max_results=3), Tuning(max_result_characters=3 * len('"result"'))], ids=["many", "long"]
)
def test_nothing_is_claimed_while_more_results_wait_to_be_written_than_may(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    @app.job
    async def work(number: int) -> str:
        ran.append(number)
        return "result"

    arun = cast("Callable[[Store, Operation[object]], Awaitable[object]]", Store.arun)
    may_write = threading.Event()

    async def slow(self: Store, operation: Operation[object]) -> object:
        if cast("partial[object]", operation.start).func.__name__ == "complete":
            assert await asyncio.to_thread(may_write.wait, 30)
        return await arun(self, operation)

    monkeypatch.setattr(Store, "arun", slow)
    monkeypatch.setattr(Prefetch, "allowance", lambda _: 0)
    jobs = app.enqueue_many([work.bind(number) for number in range(20)])
    with app.worker(concurrency=1):
        until(lambda: len(ran) >= 5, what="one is being written, and four wait")
        threading.Event().wait(0.2)  # for more, which should not run
        assert len(ran) == 5
        may_write.set()
        for job in jobs:
            job.result(timeout=30)
    assert ran == list(range(20))
