"""Threads for jobs that are plain functions, started when they are needed.

A call costs one entry in a queue and one wake of the event loop; calls that end before the loop wakes share that wake.
The threads belong to one loop, and everything except the calls themselves happens on it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar, cast

T = TypeVar("T")


class CallRunner(Protocol[T]):
    """What runs plain functions beside a loop."""

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function that raises nothing."""
        ...

    def close(self) -> None:
        """Release what is no longer needed; the caller makes no more calls."""
        ...


class Threads(Generic[T]):
    """At most `most` threads at once. They end with the process, whatever still runs in them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._under_way = 0
        self._wanted: SimpleQueue[_Call[T] | None] = SimpleQueue()
        self._ended: deque[tuple[_Call[T], T | None]] = deque()
        self._is_called = False
        """True when the loop was woken to collect results, and has not collected them yet."""

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
        """Let each thread end after its current call; the caller makes no more calls."""
        for _ in range(self._started):
            self._wanted.put(None)

    def _work(self) -> None:
        while (call := self._wanted.get()) is not None:
            self._ended.append((call, None if call.done.cancelled() else call.function()))
            if not self._is_called:
                self._is_called = True
                with suppress(RuntimeError):  # the loop was closed: the caller is gone
                    call.loop.call_soon_threadsafe(self._tell)
            del call  # drop the arguments, too, before the next wait

    def _tell(self) -> None:
        self._is_called = False  # reset it first: a call that ends from now on may miss this turn
        while self._ended:
            call, answer = self._ended.popleft()
            self._under_way -= 1
            if not call.done.done():
                call.done.set_result(cast("T", answer))


class _Call(Generic[T]):
    """A call on its way through a thread."""

    __slots__ = ("done", "function", "loop")

    def __init__(self, function: Callable[[], T], done: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.done = done
        self.loop = loop
