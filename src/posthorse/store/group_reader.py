"""Point reads of coroutines: one thread takes all that wait at the same moment, and runs one after the other.

So a hundred coroutines that read at once cost one hop to a thread, not a hundred. Each read fails alone. While the
store is away, each waits as long as its own caller does. This module knows no SQL.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.store.base import Operation, StoreAway
from posthorse.store.patience import Retries, pause
from posthorse.store.reentry import alone
from posthorse.store.thread_on_demand import ThreadOnDemand

T = TypeVar("T")

MAX_SILENCE = 0.002
"""Seconds after which results are handed out although more reads wait: a slow read must not delay those before it."""


class TryRead(Protocol):
    """Runs an operation that only reads, once. Raises StoreAway if its caller waits longer."""

    def __call__(self, operation: Operation[T], /) -> T: ...


class GroupReader:
    """Run the reads of coroutines in one thread, which starts with the first of them."""

    def __init__(self, read: TryRead) -> None:
        self._read = read
        self._guard = threading.Lock()
        self._thread = ThreadOnDemand(self._guard, "posthorse-reads")
        self._arrivals: Arrivals = SimpleQueue()

    async def aread(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, without blocking the loop."""
        loop = asyncio.get_running_loop()
        reader = _Reader(operation, loop)
        alone(self._enter, reader)
        value, error = await reader.answer
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # that of its own operation

    def close(self) -> None:
        """Wait for earlier reads, and end the thread. The next read starts another."""
        with self._guard:
            thread = self._thread.forget()
            self._arrivals.put(None)
        if thread is not None:
            thread.join()

    def _enter(self, reader: _Reader) -> None:
        with self._guard:
            if not self._thread.is_there:
                self._arrivals = SimpleQueue()
                self._thread.start(partial(self._work, self._arrivals))
            self._arrivals.put(reader)

    def _work(self, arrivals: Arrivals) -> None:
        """Read for all that wait, again and again; end once no more will come and all were served."""
        waiting: list[_Reader] = []
        retries = Retries()
        is_open = True
        while is_open or waiting:
            is_open = is_open and _take(arrivals, waiting)
            waiting[:] = self._serve(waiting)
            if waiting:
                pause(retries.next_pause(), partial(_shortest, arrivals, waiting))
            else:
                retries = Retries()

    def _serve(self, readers: Sequence[_Reader]) -> list[_Reader]:
        """Read for each; return those that read again, because the store is away."""
        again: list[_Reader] = []
        away: StoreError | None = None
        results: dict[asyncio.AbstractEventLoop, dict[_Reader, Result]] = defaultdict(dict)
        handed_out = monotonic()
        for reader in readers:
            if reader.answer.done():  # its task was cancelled
                continue
            if away is not None:  # one try is enough for all of them
                if reader.seconds_left > 0:
                    again.append(reader)
                else:
                    results[reader.loop][reader] = None, copy(away)
                continue
            try:
                results[reader.loop][reader] = alone(self._read, reader.operation), None
            except StoreAway as error:
                away = error.reason
                again.append(reader)
            except BaseException as error:  # any error is raised in the caller
                results[reader.loop][reader] = None, error
            if (now := monotonic()) - handed_out > MAX_SILENCE:
                _hand_out(results)
                handed_out = now
        _hand_out(results)
        again.sort(key=_seconds_left)  # the next try takes no longer than the least patient caller
        return again


Result = tuple[object, BaseException | None]
"""What a read returned, or raised."""


class _Reader:
    """A coroutine that waits for what it reads."""

    def __init__(self, operation: Operation[object], loop: asyncio.AbstractEventLoop) -> None:
        self.operation = operation
        self.loop = loop
        self.answer: asyncio.Future[Result] = loop.create_future()

    @property
    def seconds_left(self) -> float:
        """For how long its caller still waits for a store that is away."""
        deadline = self.operation.deadline
        return 0.0 if deadline is None else deadline.left


Arrivals: TypeAlias = "SimpleQueue[_Reader | None]"
"""Those that came since the last look; None: no more will come."""


def _take(arrivals: Arrivals, waiting: list[_Reader]) -> bool:
    """Take all that arrived; wait for one if there are none. Return False if no more will come."""
    with suppress(Empty):
        arrived = arrivals.get(block=not waiting)
        while arrived is not None:
            waiting.append(arrived)
            arrived = arrivals.get_nowait()
        return False
    return True


def _shortest(arrivals: Arrivals, waiting: Sequence[_Reader]) -> float:
    """Return for how long each that waits will still wait; nothing if others arrived, who may be less patient."""
    return min(map(_seconds_left, waiting)) if arrivals.empty() else 0.0


def _seconds_left(reader: _Reader) -> float:
    return reader.seconds_left


def _hand_out(results: dict[asyncio.AbstractEventLoop, dict[_Reader, Result]]) -> None:
    """Wake each loop once, with all the results for its tasks."""
    for loop, of_loop in results.items():
        with suppress(RuntimeError):  # the loop was closed, so nothing waits any more
            loop.call_soon_threadsafe(_answer, of_loop)
    results.clear()


def _answer(results: Mapping[_Reader, Result]) -> None:
    for reader, result in results.items():
        if not reader.answer.done():  # its task was not cancelled meanwhile
            reader.answer.set_result(result)
