"""Threads for jobs that are plain functions, started when they are needed.

A hop costs one entry in a queue and one wake of the loop, and what ends before the loop woke shares that wake. Belongs
to one loop; all but the calls themselves happens there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Threads(Generic[T]):
    """At most so many at once. They end with the process, whatever still runs in them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._under_way = 0
        self._wanted: SimpleQueue[_Call[T] | None] = SimpleQueue()
        self._ended: deque[tuple[_Call[T], T | None]] = deque()
        self._is_called = False
        """True when the loop was woken for what ended, and has not looked yet."""

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function that raises nothing; it is not started if its caller stopped waiting."""
        loop = asyncio.get_running_loop()
        if self._under_way >= self._started < self._most:
            threading.Thread(target=self._work, name=f"posthorse-job_{self._started}", daemon=True).start()
            self._started += 1
        self._under_way += 1
        call = _Call(function, loop.create_future(), loop)
        self._wanted.put(call)
        return call.done

    def close(self) -> None:
        """Nothing more comes: each thread ends with what it runs."""
        for _ in range(self._started):
            self._wanted.put(None)

    def _work(self) -> None:
        while (call := self._wanted.get()) is not None:
            self._ended.append((call, None if call.done.cancelled() else call.function()))
            if not self._is_called:
                self._is_called = True
                with suppress(RuntimeError):  # the loop was closed: the caller is gone
                    call.loop.call_soon_threadsafe(self._tell)
            del call  # and what it was called with

    def _tell(self) -> None:
        self._is_called = False  # first: what ends from now on may come too late for this turn
        while self._ended:
            call, answer = self._ended.popleft()
            self._under_way -= 1
            if not call.done.done():
                call.done.set_result(cast("T", answer))


class _Call(Generic[T]):
    """A function on its way through a thread."""

    __slots__ = ("done", "function", "loop")

    def __init__(self, function: Callable[[], T], done: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.done = done
        self.loop = loop
