"""Unanswered calls: waiting for a store that may never answer. A call cannot be withdrawn, so an ending worker leaves
it.

This module does not know what the calls are for.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TypeVar

from posthorse.clock import monotonic

T = TypeVar("T")

ANSWER_WITHIN = 1.0
"""Seconds that a store gets to answer a worker that is ending; after that, the worker ends without it."""


async def comes_within(seconds: float, work: Coroutine[None, None, object]) -> bool:
    """Run a coroutine; return False if it takes longer, and let it go on."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        is_through = task.done()
        task.cancel()  # not awaited: what it waits for may never end
    if is_through:
        task.result()
    return is_through


async def ends_once_told(work: asyncio.Task[T], told: asyncio.Event, *, within: float = ANSWER_WITHIN) -> bool:
    """Wait for the work; once `told` is set, for at most `within` seconds. Return whether it has ended."""
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
    """Wait for work that needs answers of the store; return False after `within` seconds without an answer.

    `answers` returns a different value after each answer. `until`: the earliest end of the wait, in monotonic seconds.
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


async def in_a_thread(function: Callable[[], T], *, name: str = "posthorse-close") -> T:
    """Call a function that may block for ever, in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def call() -> None:
        try:
            settle = partial(done.set_result, function())
        except BaseException as error:  # raised to the caller instead
            settle = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed: the caller is gone
            loop.call_soon_threadsafe(tell, settle)

    threading.Thread(target=call, name=name, daemon=True).start()
    return await done
