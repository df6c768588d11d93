"""Slices: a plain loop over batches, each committed before the next begins.

A slice goes through four steps: 1. stop here if asked, 2. read the next items after the cursor, 3. hand them to the
loop's body, 4. commit cursor, progress and kept values, under the fence; with `batch.transaction()`, together with the
body's own writes. A cursor is always the last committed position.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Generic, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import InvalidCall, InvalidOption, InvalidSource, ToleranceExceeded
from posthorse.failpoints import failpoint
from posthorse.rules.cursor import Cursor
from posthorse.rules.loop_state import LoopState
from posthorse.rules.slice_size import SizeRule, SliceSize
from posthorse.rules.tolerance import Tolerance
from posthorse.rules.values.kept import decode_kept
from posthorse.store.connections import AsyncConnection, Connection, UserConnection
from posthorse.store.operations.bad_items import RetryRow, bad_items_to_retry
from posthorse.store.patience import is_in_loop
from posthorse.worker.checkpoints.checkpoint_state import Slice
from posthorse.worker.checkpoints.drivers import AsyncDriver, Driver, SyncDriver
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources import AsyncSource, Chunk, QuerySetOf, Source, as_source
from posthorse.worker.checkpoints.sources.base import AsyncFindable, Findable
from posthorse.worker.checkpoints.tolerating import SliceBadItems, Tolerating, judge

T = TypeVar("T", covariant=True)
G = TypeVar("G", bound=UserConnection)
C = TypeVar("C", covariant=True)
A = TypeVar("A", covariant=True)
log = logging.getLogger("posthorse.job")


class LoopPlan(msgspec.Struct, frozen=True):
    """The options of a loop."""

    name: str
    sizes: SizeRule
    tolerance: Tolerance
    time_box: float | None = None


class Turn(msgspec.Struct, frozen=True):
    """The place of one slice in its loop. `retried`: the numbers of bad items; None if the source is read."""

    plan: LoopPlan
    number: int
    began: float
    size: SliceSize
    state: LoopState
    retried: Sequence[int] | None = None


class Batch(Sequence[T], Generic[T]):
    """The items of one slice, in order."""

    def __init__(self, journal: Journal, chunk: Chunk[T], turn: Turn, source: object) -> None:
        self.number = turn.number
        """Counts the slices of this loop in this attempt, from 0."""
        self._journal = journal
        self._turn = turn
        self._items = chunk.items
        self._cursor: Cursor = chunk.cursor
        self._is_last = chunk.is_last
        self._bad_items = SliceBadItems(
            turn.plan.name,
            turn.state,
            turn.plan.tolerance,
            source,
            chunk.items,
            is_last=chunk.is_last,
            numbers=turn.retried,
        )
        self._unreadable = len(chunk.unreadable)
        if chunk.unreadable:
            self._bad_items.note_unreadable(chunk.unreadable)
        self.ended = turn.began
        """When the slice ended, on the monotonic clock; until then, when its turn began."""
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

    @overload
    def transaction(self) -> SliceTransaction[Connection, AsyncConnection]: ...
    @overload
    def transaction(self, connection: G) -> SliceTransaction[G, G]: ...
    def transaction(self, connection: object = None) -> SliceTransaction[object, object]:
        """Commit the block's writes and the cursor together: `with batch.transaction() as connection:`.

        Also `async with`. The connection is of the store's own kind: sqlite3.Connection, or psycopg's. Or you pass one
        (psycopg, asyncpg, SQLAlchemy, a Session, Django, sqlite3), which must not be inside a transaction. If the block
        raises, or the job was taken away meanwhile, nothing of the slice remains. Posthorse calls inside the block are
        part of the transaction. The block may take a third of the lease. A slice can have one transaction. Raises
        InvalidOption for a connection that cannot be used, and InvalidCall for a second transaction.
        """
        made: SliceTransaction[object, object] = SliceTransaction(
            partial(self._transaction, connection), partial(self._atransaction, connection)
        )
        return made

    def tolerate(self, item: object, *errors: type[Exception]) -> Tolerating:
        """Record the item as bad if the block raises, and go on: `with batch.tolerate(item):`, or `async with`.

        errors: what is tolerated; by default, every Exception except those of the store. Inside
            `batch.transaction()`, only what the block wrote is undone.

        Raises ToleranceExceeded beyond the budget `tolerate=` of the loop.
        """
        for error in cast("tuple[object, ...]", errors):
            if not (isinstance(error, type) and issubclass(error, Exception)):
                raise InvalidOption(f"batch.tolerate(item, …) takes classes of exceptions, not {error!r}")
        return Tolerating(self._journal, self._bad_items, item, errors or (Exception,))

    def commit(self) -> None:
        """Commit the slice, unless its own transaction did."""
        if self._is_committed:
            self._journal.raise_if_doubtful()  # the error of its transaction may have been swallowed
        else:
            self._journal.warn_in_loop("the commit of a slice", "write `async for`, or `await batch.acommit()`")
            try:
                done = self._finish()
            except ToleranceExceeded:
                self._bad_items.keep_excess(self._journal)
                raise
            self._journal.save(done)

    async def acommit(self) -> None:
        """Do the same as `commit`, in a coroutine."""
        if self._is_committed:
            self._journal.raise_if_doubtful()
        else:
            try:
                done = self._finish()
            except ToleranceExceeded:
                await self._bad_items.akeep_excess(self._journal)
                raise
            await self._journal.asave(done)

    def _finish(self) -> Slice:
        self._bad_items.judge()
        began, self.ended = self.ended, monotonic()
        seconds = self.ended - began
        self._is_committed = True
        turn = self._turn
        done = Slice(
            loop=turn.plan.name,
            cursor=self._cursor,
            items=len(self._items) + self._unreadable,
            seconds=seconds,
            is_over=self._is_last,
            size=turn.plan.sizes.after(turn.size, len(self._items), seconds),
            bad=self._bad_items.bad,
        )
        if turn.retried is None:
            return done
        cursor = cast("Cursor", turn.state.cursor)
        is_over, mended = turn.state.is_over, self._bad_items.mended
        return replace(done, cursor=cursor, items=0, is_over=is_over, mended=mended, retried=turn.retried[-1])

    def _check_is_first(self) -> None:
        if self._journal.is_in_transaction:
            raise InvalidCall("this slice is in a transaction already; use one batch.transaction() for all its writes")
        if self._is_committed:
            raise InvalidCall("this slice is committed already; use one batch.transaction() for all its writes")

    @contextmanager
    def _transaction(self, given: object) -> Iterator[object]:
        self._check_is_first()
        if given is None:
            self._journal.warn_in_loop("`with batch.transaction():`", "write `async with`")
        elif is_in_loop():
            raise InvalidCall("in an async job write `async with batch.transaction(connection):`, also for this one")
        try:
            with self._restored_if_undone(), self._journal.transaction(self._finish, given) as connection:
                yield connection
        except ToleranceExceeded:
            self._bad_items.keep_excess(self._journal)
            raise

    @asynccontextmanager
    async def _atransaction(self, given: object) -> AsyncIterator[object]:
        self._check_is_first()
        try:
            with self._restored_if_undone():
                async with self._journal.atransaction(self._finish, given) as connection:
                    yield connection
        except ToleranceExceeded:
            await self._bad_items.akeep_excess(self._journal)
            raise

    @contextmanager
    def _restored_if_undone(self) -> Iterator[None]:
        """Restore kept values and bad items on rollback, because the job may catch its error in the loop."""
        kept, bad = self._journal.state.kept, self._bad_items.mark()
        values = kept.mark()
        try:
            yield
        except BaseException:
            if not self._is_committed:
                kept.undo(values)
                self._bad_items.undo(bad)
            raise


class SliceTransaction(Generic[C, A]):
    """The context manager that `batch.transaction()` returns, for `with` and `async with`; entered once."""

    def __init__(self, enter: object, aenter: object) -> None:
        self._enter = cast("Callable[[], AbstractContextManager[C]]", enter)
        self._aenter = cast("Callable[[], AbstractAsyncContextManager[A]]", aenter)

    def __enter__(self) -> C:
        self._entered = self._enter()
        return self._entered.__enter__()

    def __exit__(self, *error: object) -> bool | None:
        return self._entered.__exit__(*error)  # type: ignore[arg-type]  # passed on as it came

    async def __aenter__(self) -> A:
        self._aentered = self._aenter()
        return await self._aentered.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        return await self._aentered.__aexit__(*error)  # type: ignore[arg-type]  # passed on as it came


class Slices(Generic[T]):
    """The loop that `ctx.slices` returns, for `for` and `async for`."""

    def __init__(
        self,
        journal: Journal,
        source: Source[T] | AsyncSource[T] | Sequence[T] | QuerySetOf[T],
        plan: LoopPlan,
    ) -> None:
        self._journal = journal
        self._source = cast("Source[T] | AsyncSource[T]", as_source(source))
        self._plan = plan
        self._began = monotonic()

    def __iter__(self) -> Iterator[Batch[T]]:
        if isinstance(self._source, AsyncSource):
            raise InvalidSource("this source is read with await; use `async for` in an async job")
        steps = self._steps(SyncDriver(self._journal, self._source, reads_past=not self._plan.tolerance.is_none))
        answer: object = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Batch):
                    yield step
                    step.commit()
                    answer = None
                else:
                    answer = step
        except StopIteration:
            return
        finally:
            steps.close()

    def __aiter__(self) -> AsyncIterator[Batch[T]]:
        driver = AsyncDriver(self._journal, self._source, reads_past=not self._plan.tolerance.is_none)
        return _AsyncLoop(self._steps(driver))

    def _steps(self, driver: Driver) -> Generator[Batch[T] | object, object, None]:
        """Run the loop for either driver: yield batches and the driver's steps; receive the results of the steps."""
        state, missing = self._journal.state.begin_loop(self._plan.name)
        if missing:
            self._journal.warn_of_loops(missing, f"loop {self._plan.name!r} begins from the start")
        if state.is_over and not state.retry_upto:
            return
        try:
            if state.total is None:
                state.total = cast("int | None", (yield driver.count()))
            number, began = 0, monotonic()
            while True:
                self._journal.stop.raise_if_asked()
                size = self._size(state)
                turn = Turn(self._plan, number, began, size, state)
                if state.retry_upto:
                    chunk, retried = yield from self._read_again(driver, state, size.items)
                    turn = replace(turn, retried=retried)
                    if not retried:
                        continue
                elif state.is_over:
                    return
                else:
                    chunk = cast("Chunk[T]", (yield driver.read(cast("Cursor", state.cursor), size.items)))
                    if not chunk.items and not chunk.unreadable:
                        judge(self._plan.name, self._plan.tolerance, state.bad, state.done, is_over=True)
                        return
                batch = Batch(self._journal, chunk, turn, self._source)
                failpoint("in_slice")
                self._journal.begin_slice(self._plan.name, began, is_first=number == 0)
                if chunk.items:
                    yield batch
                else:  # only records that cannot be read
                    yield driver.commit(batch)
                if chunk.is_last:
                    return
                self._yield_if_time_is_up()
                # A slice lasts from the end of the one before, because reading and committing take time, too.
                number, began = number + 1, batch.ended
        finally:
            self._journal.leave_loop(self._plan.name)
            self._source.close()

    def _read_again(
        self, driver: Driver, state: LoopState, limit: int
    ) -> Generator[object, object, tuple[Chunk[T], Sequence[int]]]:
        """Return the bad items to retry, with their numbers. Items that the source no longer finds are dropped."""
        wanted = bad_items_to_retry(
            self._journal.job, self._plan.name, after=state.retried, upto=state.retry_upto, limit=limit
        )
        rows = self._journal.unpacked(cast("Sequence[RetryRow]", (yield driver.ask(wanted))))
        keys = {row.item: cast("Cursor", msgspec.json.decode(row.item)) for row in rows if row.form == "key"}
        found: dict[str, object] = {}
        if keys and isinstance(self._source, Findable | AsyncFindable):
            for item in cast("Sequence[T]", (yield driver.find(list(keys.values())))):
                found[msgspec.json.encode(self._source.key_of(item)).decode()] = item
        found |= {row.item: decode_kept(row.item) for row in rows if row.form == "value"}
        gone = [row.number for row in rows if row.item not in found]
        if gone:
            dropped = Slice(
                loop=self._plan.name,
                cursor=cast("Cursor", state.cursor),
                items=0,
                seconds=0.0,
                is_over=state.is_over,
                size=state.size,
                mended=gone,
                retried=rows[-1].number if len(gone) == len(rows) else state.retried,
            )
            yield driver.save(dropped)
        elif not rows:
            state.retried = state.retry_upto = 0
        here = [row for row in rows if row.item in found]
        items = cast("Sequence[T]", [found[row.item] for row in here])
        return Chunk(items, None, is_last=False), [row.number for row in here]

    def _size(self, state: LoopState) -> SliceSize:
        cut_short = self._journal.cut_short
        if not cut_short:
            return self._plan.sizes.begin(state.size)
        left = None if state.total is None else max(1, state.total - state.done)
        size = self._plan.sizes.begin(state.size, cut_short, left)
        log.warning(
            "job %s: %d attempts ended within the slice after %r%s; trying it with %d items",
            self._journal.job,
            cut_short.timeouts + cut_short.interruptions,
            state.cursor,
            f" of loop {self._plan.name!r}" if self._plan.name else "",
            size.items,
        )
        return size

    def _yield_if_time_is_up(self) -> None:
        if self._plan.time_box is not None and monotonic() - self._began >= self._plan.time_box:
            self._journal.stop.ask("yield")


class _AsyncLoop(AsyncIterator[Batch[T]]):
    """The steps of a loop, awaited. This is not an async generator, because one that is left is closed only when the
    event loop gets to it, and by then the next loop may have committed."""

    def __init__(self, steps: Generator[Batch[T] | object, object, None]) -> None:
        self._steps = steps
        self._batch: Batch[T] | None = None

    async def __anext__(self) -> Batch[T]:
        answer: object = None
        try:
            if self._batch is not None:
                await self._batch.acommit()
                self._batch = None
            while True:
                try:
                    step = self._steps.send(answer)
                except StopIteration:
                    raise StopAsyncIteration from None
                if isinstance(step, Batch):
                    self._batch = cast("Batch[T]", step)
                    return self._batch
                answer = await cast("Awaitable[object]", step)
        except BaseException:
            self._steps.close()
            raise

    async def aclose(self) -> None:
        """Leave the loop."""
        self._steps.close()
