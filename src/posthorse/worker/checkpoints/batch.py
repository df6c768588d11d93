"""One slice: its items, and its commit, once, with what its body wrote if that is in a transaction.

Cursor, progress, kept values and bad items are committed under the fence, all or none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
from posthorse.errors import InvalidCall, InvalidOption, ToleranceExceeded
from posthorse.rules.cursor import Cursor
from posthorse.rules.loop_state import LoopState
from posthorse.rules.slice_size import SizeRule, SliceSize
from posthorse.rules.throttle import Throttle, ThrottleFunction
from posthorse.rules.tolerance import Tolerance
from posthorse.store.connections import AsyncConnection, Connection, UserConnection
from posthorse.store.patience import is_in_loop
from posthorse.worker.checkpoints.checkpoint_state import Slice
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources import Chunk
from posthorse.worker.checkpoints.tolerating import SliceBadItems, Tolerating

T = TypeVar("T", covariant=True)
G = TypeVar("G", bound=UserConnection)
C = TypeVar("C", covariant=True)
A = TypeVar("A", covariant=True)


class LoopPlan(msgspec.Struct, frozen=True):
    """The options of a loop."""

    name: str
    sizes: SizeRule
    tolerance: Tolerance
    time_box: float | None = None
    throttle: Throttle | ThrottleFunction | None = None
    is_of_part: bool = False
    """Whether the loop runs over a range of its source, beside other parts of the same job."""


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
            is_of_part=turn.plan.is_of_part,
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
                self._journal.save(self._finish())
            except ToleranceExceeded:
                self._take_back()
                self._bad_items.keep_excess(self._journal)
                raise

    async def acommit(self) -> None:
        """Do the same as `commit`, in a coroutine."""
        if self._is_committed:
            self._journal.raise_if_doubtful()
        else:
            try:
                await self._journal.asave(self._finish())
            except ToleranceExceeded:
                self._take_back()
                await self._bad_items.akeep_excess(self._journal)
                raise

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
            return replace(done, judge=self._bad_items.judge_of_all()) if turn.plan.is_of_part else done
        cursor = cast("Cursor", turn.state.cursor)
        is_over, mended = turn.state.is_over, self._bad_items.mended
        return replace(done, cursor=cursor, items=0, is_over=is_over, mended=mended, retried=turn.retried[-1])

    def _take_back(self) -> None:
        """Undo in memory what was refused because all parts together have too many bad items."""
        if self._is_committed and self._journal.take_back():
            self._is_committed = False
            self._bad_items.refuse()

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
            self._take_back()
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
            self._take_back()
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
