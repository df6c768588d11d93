"""Looks: reads of many rows, such as lists, searches and counts. They have connections of their own, so that no read of
one job waits for them, and a time after which they end.

A database decides how it ends a statement in time; this module knows how long a look may take, who may look at the same
moment, and in which threads coroutines do so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import Generic, TypeVar

from posthorse.clock import monotonic
from posthorse.errors import TookTooLong
from posthorse.store.base import BoundQuery, Execute, Rows
from posthorse.store.reentry import alone

C = TypeVar("C")
T = TypeVar("T")

MAX_WAIT = 2.0
"""Seconds that a coroutine's look waits for a store that is away: a person waits for the page that it fills."""

MAX_THREADS = 4
"""Coroutines that look at the same moment; more wait for each other. A database may have fewer connections for them."""


class TimeAllowed:
    """How long one look may take, from when its caller asked; waiting for a connection is a part of it."""

    __slots__ = ("_ends_at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_at = monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left; 0 or less when the time is over."""
        return self._ends_at - monotonic()

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self._ends_at <= monotonic()

    def within(self, execute: Execute) -> Execute:
        """Make the same function, which begins no statement after the time is over. It raises TookTooLong."""

        def execute_in_time(wanted: BoundQuery) -> Rows:
            if self.is_over():
                raise self.exceeded()
            return execute(wanted)

        return execute_in_time

    def exceeded(self) -> TookTooLong:
        """Return the error for a look that was ended."""
        return TookTooLong(
            f"a look at many jobs took longer than {self.seconds:g} s and was ended, so that it holds up nothing else; "
            "narrow what it looks for (a queue, a kind, a time), or try again when the store has less to do"
        )


class Places(Generic[C]):
    """The connections that looks take in turn; the one that was used last is taken first."""

    def __init__(self, contents: Sequence[C]) -> None:
        self._contents = contents
        self._free: LifoQueue[C] = LifoQueue()
        for content in reversed(contents):
            self._free.put(content)

    @contextmanager
    def taken(self, time: TimeAllowed) -> Iterator[C]:
        """Yield a connection that no other look uses. Raises TookTooLong if none is free in time."""
        try:
            content = self._free.get(timeout=max(0.0, time.left))
        except Empty:
            raise TookTooLong(
                f"a look at many jobs waited {time.seconds:g} s for others to end, and did not begin: {self._in_use}; "
                "look at less at once, or try again"
            ) from None
        try:
            yield content
        finally:
            self._free.put(content)

    @property
    def _in_use(self) -> str:
        many = len(self._contents)
        return "the connection for looks is in use" if many == 1 else f"all {many} connections for looks are in use"

    def empty(self, close: Callable[[C], object]) -> None:
        """Close each connection once it is not in use."""
        taken = [self._free.get() for _ in self._contents]
        for content in reversed(taken):
            close(content)
            self._free.put(content)


class LookThreads:
    """The threads in which coroutines look."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, look: Callable[[], T]) -> T:
        """Call a function that looks, without blocking the loop."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(MAX_THREADS, "posthorse-looks")
        return await asyncio.get_running_loop().run_in_executor(self._executor, alone, look)

    def close(self) -> None:
        """Wait for looks that have begun, and end the threads."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
