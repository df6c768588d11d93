"""Threads for jobs: as many as are needed and no more, and no caller waits in vain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from posthorse.worker.running.threads import Threads
from tests.waiting import until

LONG = 20.0


@contextmanager
def made(most: int) -> Iterator[Threads[int]]:
    threads = Threads[int](most)
    try:
        yield threads
    finally:
        threads.close()


def test_threads_are_started_when_all_are_busy_and_used_again() -> None:
    async def scene() -> None:
        with made(3) as threads:
            alone = {await threads.run(threading.get_ident) for _ in range(20)}
            assert len(alone) == 1
            meeting = threading.Barrier(3)

            def meet() -> int:
                meeting.wait(LONG)
                return threading.get_ident()

            together = set(await asyncio.gather(*(threads.run(meet) for _ in range(3))))
            assert len(together) == 3
            assert alone < together
            again = set(await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(200))))
            assert again <= together

    asyncio.run(scene())


def test_what_ends_together_is_told_at_one_wake_and_each_to_its_own() -> None:
    async def scene() -> int:
        loop, wakes = asyncio.get_running_loop(), list[None]()
        call_soon = loop.call_soon_threadsafe

        def noting(callback: Callable[..., object], *args: object) -> object:
            wakes.append(None)
            return call_soon(callback, *args)

        loop.call_soon_threadsafe = noting  # type: ignore[method-assign, assignment]  # of this loop alone
        with made(1) as threads:
            calls = [threads.run(lambda number=number: number) for number in range(500)]  # type: ignore[misc]
            until(lambda: threads._wanted.empty())  # and the loop cannot look meanwhile
            assert await asyncio.gather(*calls) == list(range(500))
        return len(wakes)

    assert asyncio.run(scene()) <= 2  # the last one may end after the queue was empty


def test_a_call_that_nobody_waits_for_any_more_is_not_begun() -> None:
    async def scene() -> None:
        may_end, begun = threading.Event(), list[str]()

        def first() -> int:
            begun.append("first")
            may_end.wait(LONG)
            return 1

        def second() -> int:
            begun.append("second")
            return 2

        with made(1) as threads:
            running, waiting = threads.run(first), threads.run(second)
            waiting.cancel()
            may_end.set()
            assert await running == 1
            assert await threads.run(lambda: 3) == 3
            assert begun == ["first"]

    asyncio.run(scene())


def test_an_end_that_comes_after_its_loop_hurts_nobody() -> None:
    may_end, threads = threading.Event(), Threads[int](1)
    before = set(threading.enumerate())

    def late() -> int:
        may_end.wait(LONG)
        return 1

    async def scene() -> None:
        threads.run(late)

    asyncio.run(scene())
    [thread] = set(threading.enumerate()) - before
    may_end.set()
    threads.close()
    thread.join(LONG)
    assert not thread.is_alive()
