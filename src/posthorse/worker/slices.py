"""Slices: a plain loop over batches, each committed before the next begins.

The journey of a slice: 1. stop here if asked, 2. read the next items after the cursor, 3. hand them to the loop's
body, 4. commit cursor, progress and kept values, under the fence; with `batch.transaction()` together with the
body's own writes. A cursor is always the last committed position.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Generic, TypeVar, cast, overload

from posthorse.rules.cursor import Cursor
from posthorse.store.connections import AsyncConnection, Connection
from posthorse.worker.failpoints import failpoint
from posthorse.worker.journal import Journal, Slice
from posthorse.worker.sources import AsyncSource, Chunk, Source, as_source
from posthorse.worker.standing import LoopStanding

T = TypeVar("T", covariant=True)


class Batch(Sequence[T], Generic[T]):
    """The items of one slice, in order."""

    def __init__(self, journal: Journal, loop: str, chunk: Chunk[T], number: int, began: float) -> None:
        self.number = number
        """Counts the slices of this loop in this attempt, from 0."""
        self._journal = journal
        self._loop = loop
        self._items = chunk.items
        self._cursor: Cursor = chunk.cursor
        self._is_last = chunk.is_last
        self.ended = began
        """When the slice was over, on the monotonic clock; until then, when its turn began."""
        self._is_committed = False

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def transaction(self) -> SliceTransaction:
        """`with batch.transaction() as connection:` commits the block's writes and the cursor together.

        Also `async with`. The connection is the store's own kind: sqlite3.Connection, or psycopg's. If the block
        raises, or the job was taken away meanwhile, nothing of the slice remains. Posthorse calls inside the
        block are part of it. The block may take a third of the lease. One transaction a slice.
        """
        if self._journal.is_in_transaction:
            raise RuntimeError("this slice is in a transaction already; use one batch.transaction() for all its writes")
        if self._is_committed:
            raise RuntimeError("this slice is committed already; use one batch.transaction() for all its writes")
        return SliceTransaction(self._transaction, self._atransaction)

    def commit(self) -> None:
        """Commits the slice unless its own transaction did."""
        if self._is_committed:
            self._journal.raise_if_doubtful()  # the error of its transaction may have been swallowed
        else:
            self._journal.save(self._finish())

    async def acommit(self) -> None:
        """The same for a coroutine."""
        if self._is_committed:
            self._journal.raise_if_doubtful()
        else:
            await self._journal.asave(self._finish())

    def _finish(self) -> Slice:
        began, self.ended = self.ended, time.monotonic()
        seconds = self.ended - began
        self._is_committed = True
        return Slice(self._loop, self._cursor, len(self._items), seconds, is_over=self._is_last)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._journal.transaction(self._finish) as connection:
            yield cast("Connection", connection)

    @asynccontextmanager
    async def _atransaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._journal.atransaction(self._finish) as connection:
            yield cast("AsyncConnection", connection)


class SliceTransaction:
    """What `batch.transaction()` gives: a context manager for both colours, entered once."""

    def __init__(self, enter: object, aenter: object) -> None:
        self._enter = cast("type[AbstractContextManager[Connection]]", enter)
        self._aenter = cast("type[AbstractAsyncContextManager[AsyncConnection]]", aenter)

    def __enter__(self) -> Connection:
        self._entered = self._enter()
        return self._entered.__enter__()

    def __exit__(self, *error: object) -> bool | None:
        return self._entered.__exit__(*error)  # type: ignore[arg-type]  # passed on as it came

    async def __aenter__(self) -> AsyncConnection:
        self._aentered = self._aenter()
        return await self._aentered.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        return await self._aentered.__aexit__(*error)  # type: ignore[arg-type]  # passed on as it came


class Slices(Generic[T]):
    """The loop that `ctx.slices` gives, for `for` and `async for`."""

    def __init__(
        self,
        journal: Journal,
        source: Source[T] | AsyncSource[T] | Sequence[T],
        *,
        loop: str,
        size: int,
        time_box: float | None,
    ) -> None:
        self._journal = journal
        self._source = cast("Source[T] | AsyncSource[T]", as_source(source))
        self._loop = loop
        self._size = size
        self._time_box = time_box
        self._began = time.monotonic()

    def __iter__(self) -> Iterator[Batch[T]]:
        source = self._source
        if isinstance(source, AsyncSource):
            raise TypeError("this source is read with await; use `async for` in an async job")
        standing = self._standing()
        if standing.is_over:
            return
        try:
            if standing.total is None:
                standing.total = source.count()
            number, began = 0, time.monotonic()
            while True:
                self._journal.stop.raise_if_asked()
                chunk = source.read(cast("Cursor", standing.cursor), self._size)
                if not chunk.items:
                    return
                batch = Batch(self._journal, self._loop, chunk, number, began)
                failpoint("in_slice")
                self._journal.begin_slice()
                yield batch
                batch.commit()
                if chunk.is_last:
                    return
                self._yield_if_time_is_up()
                # A slice takes from the end of the one before to its own: reading and committing are work too.
                number, began = number + 1, batch.ended
        finally:
            source.close()

    async def __aiter__(self) -> AsyncIterator[Batch[T]]:
        source = self._source
        standing = self._standing()
        if standing.is_over:
            return
        try:
            if standing.total is None:
                standing.total = await source.acount() if isinstance(source, AsyncSource) else source.count()
            number, began = 0, time.monotonic()
            while True:
                self._journal.stop.raise_if_asked()
                if isinstance(source, AsyncSource):
                    chunk = await source.aread(cast("Cursor", standing.cursor), self._size)
                else:  # a file, perhaps: not on the loop
                    chunk = await asyncio.to_thread(source.read, cast("Cursor", standing.cursor), self._size)
                if not chunk.items:
                    return
                batch = Batch(self._journal, self._loop, chunk, number, began)
                failpoint("in_slice")
                self._journal.begin_slice()
                yield batch
                await batch.acommit()
                if chunk.is_last:
                    return
                self._yield_if_time_is_up()
                # A slice takes from the end of the one before to its own: reading and committing are work too.
                number, began = number + 1, batch.ended
        finally:
            source.close()

    def _standing(self) -> LoopStanding:
        return self._journal.standing.loops.setdefault(self._loop, LoopStanding())

    def _yield_if_time_is_up(self) -> None:
        if self._time_box is not None and time.monotonic() - self._began >= self._time_box:
            self._journal.stop.ask("yield")
