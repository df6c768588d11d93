"""Answers of the store: a worker that ends waits for it as long as it answers, and no longer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from posthorse.clock import monotonic
from posthorse.worker.base.unanswered_calls import comes_within, ends_once_told, ends_while_answered
from posthorse.worker.base.user_process_loop import UnjoinedThreads, close_in_time


def test_work_may_take_long_while_the_store_answers() -> None:
    async def main() -> None:
        answers = 0

        async def hand_in() -> None:
            nonlocal answers
            for _ in range(20):
                await asyncio.sleep(0.05)
                answers += 1

        work = asyncio.create_task(hand_in())
        assert await ends_while_answered(work, lambda: answers, within=0.5)
        assert answers == 20

    asyncio.run(main())


def test_work_is_left_once_nothing_was_answered_and_not_before_it_may_be() -> None:
    async def main() -> None:
        work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        until = monotonic() + 0.2
        assert not await ends_while_answered(work, lambda: 0, within=0.01, until=until)
        assert monotonic() >= until
        assert not work.done()

    asyncio.run(main())


def test_what_went_wrong_in_time_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("the store refuses")

    with pytest.raises(ValueError, match="refuses"):
        asyncio.run(comes_within(30, fail()))


def test_work_that_does_not_end_is_left_only_after_the_stop() -> None:
    async def main() -> None:
        told = asyncio.Event()
        work = asyncio.create_task(asyncio.sleep(3600))
        waiting = asyncio.create_task(ends_once_told(work, told, within=0.01))
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        told.set()
        assert not await waiting

    asyncio.run(main())


def test_a_loop_closes_although_a_thread_of_it_hangs() -> None:
    loop, threads, never = asyncio.new_event_loop(), UnjoinedThreads(), threading.Event()
    loop.set_default_executor(threads)

    async def main() -> list[int]:
        hanging = asyncio.create_task(asyncio.to_thread(never.wait))
        squares = list(await asyncio.gather(*(asyncio.to_thread(pow, number, 2) for number in range(100))))
        assert not hanging.done()
        return squares

    assert loop.run_until_complete(main()) == [number**2 for number in range(100)]
    close_in_time(loop, threads, 0.01)
    assert loop.is_closed()
    with pytest.raises(RuntimeError):
        threads.submit(print)
    never.set()
