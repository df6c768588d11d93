"""Waiting for a store that may never answer: what was sent to it cannot be taken back, so a worker that ends leaves it.

Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from posthorse.clock import monotonic

T = TypeVar("T")

ANSWER_WITHIN = 1.0
"""Seconds in which a store answers a worker that ends; after them nothing more is expected of it."""


async def comes_within(seconds: float, work: Coroutine[None, None, object]) -> bool:
    """Run a coroutine; leave it, and return False, when it takes longer."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        is_through = task.done()
        task.cancel()  # not awaited: what it waits for may hold it up
    if is_through:
        task.result()
    return is_through


async def ends_once_told(work: asyncio.Task[T], told: asyncio.Event, *, within: float = ANSWER_WITHIN) -> bool:
    """Wait for work; once its worker is told to stop, for `within` seconds at most. Return whether it is through."""
    telling = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({work, telling}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=within)
    finally:
        telling.cancel()
    return work.done()


async def ends_while_answered(
    work: asyncio.Future[T],
    answers: Callable[[], object],
    *,
    within: float = ANSWER_WITHIN,
    until: float = -math.inf,
) -> bool:
    """Wait for work that the store has to answer; return False once it did not for `within` seconds.

    `answers` returns something else after each answer. `until` is the earliest end of the wait, in monotonic seconds.
    """
    until = max(until, monotonic() + within)
    heard = answers()
    while not work.done():
        await asyncio.wait({work}, timeout=max(0.0, until - monotonic()))
        if work.done() or monotonic() < until:
            continue
        if answers() == heard:
            return False
        heard, until = answers(), monotonic() + within
    return True


async def in_a_thread(function: Callable[[], object]) -> None:
    """Call a function that may block for ever, in a thread that no end of a process waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def call() -> None:
        failure: BaseException | None = None
        try:
            function()
        except BaseException as error:  # it belongs to the caller
            failure = error
        with suppress(RuntimeError):  # the loop was closed: the caller left
            loop.call_soon_threadsafe(tell, failure)

    threading.Thread(target=call, name="posthorse-close", daemon=True).start()
    await done
