"""The waiting room: one thread asks for all awaited jobs of a process, and wakes those whose job may be over."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import TypeVar

import pytest

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.store.base import Operation
from posthorse.store.store import Store
from tests.store.yard import Yard
from tests.waiting import auntil, until

T = TypeVar("T")

LONG = 60.0
UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


class Statements:
    """Counts what the room asks, and can refuse to answer."""

    def __init__(self, read: Callable[[Operation[object]], object]) -> None:
        self._read = read
        self.count = 0
        self.is_broken = False

    def __call__(self, operation: Operation[object]) -> object:
        if threading.current_thread().name == "posthorse-waiting-room":
            self.count += 1
            if self.is_broken:
                raise StoreError("broken")
        return self._read(operation)


@pytest.fixture
def statements(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    statements = Statements(yard.store.backend.read)
    monkeypatch.setattr(yard.store.backend, "read", statements)
    yield statements
    yard.store.close()


def room_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "posthorse-waiting-room"]


def waiters(store: Store) -> int:
    return len(store._waiting_room._callers)


def ask_only_after_news(store: Store) -> None:
    for caller in store._waiting_room._callers:
        caller.pace.due = inf


def test_a_thousand_coroutines_cost_twelve_statements_a_second(yard: Yard, statements: Statements) -> None:
    jobs = yard.enqueue(1_000)

    async def waiting() -> float:
        tasks = [asyncio.create_task(yard.store.await_end([job], LONG)) for job in jobs]
        await asyncio.sleep(0.5)  # the first looks are closer
        before, begun = statements.count, monotonic()
        await asyncio.sleep(1.5)
        rate = (statements.count - before) / (monotonic() - begun)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return rate

    assert 0 < asyncio.run(waiting()) <= 12
    assert waiters(yard.store) == 0


def test_threads_and_coroutines_hear_of_their_own_jobs(yard: Yard) -> None:
    yard.enqueue(4)
    first, second, third, last = (yard.started() for _ in range(4))
    store = yard.store

    async def waiting() -> None:
        with ThreadPoolExecutor(2) as threads:
            in_thread = threads.submit(store.wait_for_end, [first.job, last.job], LONG)
            in_task = asyncio.create_task(store.await_end([second.job], LONG))
            both = asyncio.create_task(store.await_end([second.job, third.job], LONG))
            await auntil_waiting(store, 3)
            await asyncio.to_thread(yard.complete, first)
            assert await asyncio.wrap_future(in_thread) == {first.job}
            assert not in_task.done()
            await asyncio.to_thread(yard.complete, second)
            assert await in_task == await both == {second.job}

    asyncio.run(waiting())
    assert waiters(store) == 0


async def auntil_waiting(store: Store, count: int) -> None:
    async def is_so() -> bool:
        return waiters(store) == count

    await auntil(is_so)


def test_jobs_that_do_not_exist_are_no_reason_to_wait(yard: Yard) -> None:
    assert yard.store.wait_for_end([UNKNOWN], LONG) == {UNKNOWN}


def test_a_commit_of_this_process_is_followed_at_once(yard: Yard) -> None:
    yard.enqueue()
    attempt = yard.started()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(yard.store.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(yard.store) == 1)
        ask_only_after_news(yard.store)
        yard.complete(attempt)
        assert waiting.result(LONG) == {attempt.job}


@pytest.mark.skipif(sys.platform != "linux", reason="needs inotify")
def test_a_write_of_another_process_to_a_file_is_followed_at_once(sqlite_yard: Yard) -> None:
    sqlite_yard.enqueue()
    attempt = sqlite_yard.started()
    here = Store(sqlite_yard.store.url)  # whose commits are noticed only through the kernel
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(here.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(here) == 1)
        ask_only_after_news(here)
        sqlite_yard.complete(attempt)
        until(lambda: waiting.done() or sqlite_yard.enqueue() is None)  # in case the first write came too early
        assert waiting.result(LONG) == {attempt.job}
    here.close()


def test_the_time_is_over_before_the_job(yard: Yard) -> None:
    [job] = yard.enqueue()
    assert yard.store.wait_for_end([job], 0.02) == frozenset()
    assert asyncio.run(yard.store.await_end([job], 0.02)) == frozenset()
    assert waiters(yard.store) == 0


def test_a_cancelled_waiter_leaves_and_others_stay(yard: Yard) -> None:
    yard.enqueue(1)
    attempt = yard.started()

    async def waiting() -> None:
        goes, stays = (asyncio.create_task(yard.store.await_end([attempt.job], LONG)) for _ in range(2))
        await auntil_waiting(yard.store, 2)
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        assert waiters(yard.store) == 1
        await asyncio.to_thread(yard.complete, attempt)
        assert await stays == {attempt.job}

    asyncio.run(waiting())


def test_a_loop_that_ends_takes_only_its_own_waiters_along(yard: Yard) -> None:
    yard.enqueue()
    attempt = yard.started()

    async def begin_to_wait() -> None:
        waiting = asyncio.create_task(yard.store.await_end([attempt.job], LONG))
        await auntil_waiting(yard.store, 2)
        del waiting

    with ThreadPoolExecutor(1) as threads:
        stays = threads.submit(yard.store.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(yard.store) == 1)
        asyncio.run(begin_to_wait())
        yard.complete(attempt)
        assert stays.result(LONG) == {attempt.job}


def test_waiters_look_for_themselves_if_the_room_cannot(yard: Yard, statements: Statements) -> None:
    [job] = yard.enqueue()
    statements.is_broken = True
    assert yard.store.wait_for_end([job], LONG) == {job}
    statements.is_broken = False
    assert yard.store.wait_for_end([job], 0.02) == frozenset()


def test_a_store_that_is_closed_sends_all_away_who_may_come_back(yard: Yard) -> None:
    yard.enqueue()
    attempt = yard.started()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(yard.store.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(yard.store) == 1)
        yard.store.close()
        assert waiting.result(LONG) == {attempt.job}
        assert room_threads() == []
        again = threads.submit(yard.store.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(yard.store) == 1)
        yard.complete(attempt)
        assert again.result(LONG) == {attempt.job}


def test_the_thread_ends_when_no_caller_comes(yard: Yard) -> None:
    [job] = yard.enqueue()
    for _ in range(2):
        yard.store.wait_for_end([job], 0.01)
        assert len(room_threads()) == 1
        until(lambda: room_threads() == [])


def test_a_forked_child_waits_in_a_room_of_its_own(yard: Yard) -> None:
    yard.enqueue()
    attempt = yard.started()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(yard.store.wait_for_end, [attempt.job], LONG)
        until(lambda: waiters(yard.store) == 1)
        child = os.fork()
        if child == 0:
            os._exit(0 if yard.store.wait_for_end([attempt.job], LONG) == {attempt.job} else 1)
        yard.complete(attempt)
        assert waiting.result(LONG) == {attempt.job}
        assert os.waitpid(child, 0)[1] == 0
