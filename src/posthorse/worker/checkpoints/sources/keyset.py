"""Key sets as sources: rows fetched after the key of the last one, page by page, from a database or an API.

This module knows no database: `fetch` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from datetime import datetime
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Generic, TypeAlias, TypeVar, cast, overload

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, in_utc, key_of_cursor
from posthorse.rules.ranges import Range
from posthorse.worker.checkpoints.sources.base import AsyncSource, Chunk, Source
from posthorse.worker.checkpoints.sources.keyset_ranges import keyset_ranges, middle_keys

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

Total: TypeAlias = int | Callable[[], int | None] | None
AsyncTotal: TypeAlias = Callable[[], Awaitable[int | None]]


@overload
def keyset(
    fetch: Callable[[K, int], Awaitable[Iterable[T]]],
    *,
    key: Callable[[T], K],
    start: K,
    stop: K | None = None,
    total: Total | AsyncTotal = None,
    split: Callable[[K, K | None, int], Iterable[K]]
    | Callable[[K, K | None, int], Awaitable[Iterable[K]]]
    | None = None,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Awaitable[Iterable[T]]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: Total | AsyncTotal = None,
    split: Callable[[K | None, K | None, int], Iterable[K]]
    | Callable[[K | None, K | None, int], Awaitable[Iterable[K]]]
    | None = None,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: K,
    stop: K | None = None,
    total: AsyncTotal,
    split: Callable[[K, K | None, int], Iterable[K]]
    | Callable[[K, K | None, int], Awaitable[Iterable[K]]]
    | None = None,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: AsyncTotal,
    split: Callable[[K | None, K | None, int], Iterable[K]]
    | Callable[[K | None, K | None, int], Awaitable[Iterable[K]]]
    | None = None,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: K,
    stop: K | None = None,
    total: Total = None,
    split: Callable[[K, K | None, int], Iterable[K]] | None = None,
) -> Source[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: Total = None,
    split: Callable[[K | None, K | None, int], Iterable[K]] | None = None,
) -> Source[T]: ...
def keyset(
    fetch: Callable[[K, int], Iterable[T]] | Callable[[K, int], Awaitable[Iterable[T]]],
    *,
    key: Callable[[T], K],
    start: K | None = None,
    stop: K | None = None,
    total: Total | AsyncTotal = None,
    split: Callable[[K, K | None, int], Iterable[K]]
    | Callable[[K, K | None, int], Awaitable[Iterable[K]]]
    | None = None,
) -> Source[T] | AsyncSource[T]:
    """Return rows as a source, in the order of a unique key, a page at a time.

    fetch(after, limit): returns at most `limit` rows whose keys come after `after`, in rising order. An empty page
        ends the loop; a short one does not, so nothing is lost if an API caps or filters pages.
    key(row): the row's key: an int, float, str, datetime, date, UUID, Decimal, bytes, or a tuple of these. It
        must be unique. If it is not, as a time of creation, add one that is: (row.created_at, row.id).
    start: the first `after`. stop: the last key that belongs to the loop; rows after it end the loop.
    total: how many rows there are from the start, for progress: a number, or a function that returns it.
    split(after, upto, parts): returns up to `parts - 1` keys between these two, in rising order, at which the rows can
        be cut into even parts. Without it, numbers, dates, times and UUIDs are cut evenly between `start` and `stop`.

    `fetch`, `total` and `split` may be coroutine functions; then the loop must be an `async for`.

    Keys that do not rise are an error, because the loop would lose rows or never end. Each database orders text in its
    own way, so text keys are only checked for repetition; `stop` and cuts compare them by code point, as SQLite and the
    collation "C" do.
    """
    rows = _Rows(key, start, stop)
    if _is_async(fetch) or _is_async(total):
        return AsyncKeyset(fetch, rows, total, split)
    only_sync = cast("Callable[[K, K | None, int], Iterable[K]] | None", split)
    return Keyset(cast("Callable[[K, int], Iterable[T]]", fetch), rows, cast("Total", total), only_sync)


class Keyset(Generic[K, T]):
    """A key set whose `fetch` returns rows."""

    def __init__(
        self,
        fetch: Callable[[K, int], Iterable[T]],
        rows: _Rows[K, T],
        total: Total,
        split: Callable[[K, K | None, int], Iterable[K]] | None,
    ) -> None:
        self._fetch = fetch
        self._rows = rows
        self._total = total
        self._split = split

    def count(self) -> int | None:
        return _at_once(self._total(), "total") if callable(self._total) else self._total

    def read(self, cursor: Cursor, limit: int) -> Chunk[T]:
        after = self._rows.after(cursor)
        return self._rows.chunk(_at_once(self._fetch(after, limit), "fetch"), after, cursor, limit)

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        first, last = self._rows.ends(after, upto)
        keys = _at_once(self._split(first, last, parts), "split") if self._split else middle_keys(first, last, parts)
        return keyset_ranges(Range(after, upto), first, last, keys, parts)

    def within(self, range: Range) -> Keyset[K, T]:
        return Keyset(self._fetch, self._rows.within(range), range.total, self._split)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""


class AsyncKeyset(Generic[K, T]):
    """A key set whose `fetch` must be awaited."""

    def __init__(
        self,
        fetch: Callable[[K, int], Iterable[T] | Awaitable[Iterable[T]]],
        rows: _Rows[K, T],
        total: Total | AsyncTotal,
        split: Callable[[K, K | None, int], Iterable[K] | Awaitable[Iterable[K]]] | None,
    ) -> None:
        self._fetch = fetch
        self._rows = rows
        self._total = total
        self._split = split

    async def acount(self) -> int | None:
        total = self._total() if callable(self._total) else self._total
        return await total if isawaitable(total) else total

    async def aread(self, cursor: Cursor, limit: int) -> Chunk[T]:
        after = self._rows.after(cursor)
        rows = self._fetch(after, limit)
        return self._rows.chunk(await rows if isawaitable(rows) else rows, after, cursor, limit)

    async def asplit(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        first, last = self._rows.ends(after, upto)
        keys = self._split(first, last, parts) if self._split else middle_keys(first, last, parts)
        return keyset_ranges(Range(after, upto), first, last, await keys if isawaitable(keys) else keys, parts)

    def within(self, range: Range) -> AsyncKeyset[K, T]:
        return AsyncKeyset(self._fetch, self._rows.within(range), range.total, self._split)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""


class _Rows(Generic[K, T]):
    """Fetched rows, which become chunks once it is checked that their keys rise."""

    def __init__(self, key: Callable[[T], K], start: K | None, stop: K | None, *, compares_text: bool = False) -> None:
        self._key = key
        self._start = start
        self._end = stop
        self._stop = in_utc(stop)
        self._compares_text = compares_text
        # The end and the keys of the previous chunk, if they contain text: they show whether rows repeat.
        self._before: tuple[Cursor, set[K]] = (None, set())

    def ends(self, after: Cursor, upto: Cursor) -> tuple[K, K | None]:
        """Return the keys between which a range is: `fetch` is asked after the first, the last belongs to it."""
        return self.after(after), self._end if upto is None else cast("K", key_of_cursor(upto))

    def within(self, range: Range) -> _Rows[K, T]:
        """Return the rows of one range."""
        return _Rows(self._key, *self.ends(range.after, range.upto), compares_text=True)

    def after(self, cursor: Cursor) -> K:
        # Without a start, `fetch` accepts None as well: the overloads of keyset() require that.
        return cast("K", self._start if cursor is None else key_of_cursor(cursor))

    def chunk(self, fetched: Iterable[T], after: K, cursor: Cursor, limit: int) -> Chunk[T]:
        rows = list(fetched)
        if len(rows) > limit:
            raise UsageError(
                f"fetch returned {len(rows):,} rows for a limit of {limit:,}; it must keep to its second argument"
            )
        keys = [self._key(row) for row in rows]
        moments = cast("list[K]", [in_utc(key) for key in keys]) if keys and _may_hold_times(keys[0]) else keys
        holds_text = self._check_order(cast("K", in_utc(after)), moments, cursor)
        within = self._within(moments)
        if not within:
            return Chunk((), cursor, is_last=True)
        last = keys[within - 1]
        reached = cursor_of_key(last)
        self._before = (reached, set(moments) if holds_text else set())
        return Chunk(rows[:within], reached, is_last=within < len(rows) or moments[within - 1] == self._stop)

    def _check_order(self, after: K, keys: list[K], cursor: Cursor) -> bool:
        """Return whether these keys contain text, whose order only the database knows. Raises if keys do not rise."""
        end_before, keys_before = self._before
        seen = set(keys_before) if cursor == end_before else set[K]()
        holds_text = False
        previous: K | None = after
        for key in keys:
            rises = previous is None or _rises(previous, key)
            if rises is None:
                holds_text = True
            if not rises and (rises is not None or key in seen):
                raise _disorder(previous, key)
            if rises is None and self._compares_text and not _is_less(previous, key):
                raise _other_order(previous, key)
            if holds_text:
                seen.add(key)
            previous = key
        return holds_text

    def _within(self, keys: list[K]) -> int:
        """Return how many of these keys come before the stop or are equal to it."""
        if self._stop is not None:
            for position, key in enumerate(keys):
                if _is_less(self._stop, key):
                    return position
        return len(keys)


def _may_hold_times(key: object) -> bool:
    return isinstance(key, datetime | tuple)


def _is_async(function: object) -> bool:
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _at_once(answer: T, name: str) -> T:
    if not isawaitable(answer):
        return answer
    if iscoroutine(answer):
        answer.close()
    raise UsageError(f"{name} returned an awaitable; write it as `async def`, so that it is known to need awaiting")


def _rises(earlier: object, later: object) -> bool | None:
    """Return whether `later` comes after `earlier`; None for two texts, because their order depends on the database."""
    one, other = _where_they_differ(earlier, later)
    if isinstance(one, str) and isinstance(other, str):
        return None if one != other else False
    return _is_less(one, other)


def _where_they_differ(one: object, other: object) -> tuple[object, object]:
    pair = one, other
    if isinstance(one, tuple) and isinstance(other, tuple):
        pairs = zip(cast("tuple[object, ...]", one), cast("tuple[object, ...]", other), strict=False)
        for part, counterpart in pairs:
            if part != counterpart:
                return _where_they_differ(part, counterpart)
    return pair


def _is_less(earlier: object, later: object) -> bool:
    try:
        return cast("bool", earlier < later)  # type: ignore[operator]  # keys of one kind; others end below
    except TypeError:
        raise UsageError(
            f"the keys {earlier!r} and {later!r} cannot be compared; what key= returns, start= and stop= "
            "must be of one type"
        ) from None


def _disorder(previous: object, key: object) -> UsageError:
    return UsageError(
        f"fetch returned key {key!r} after {previous!r}: keys must rise, each only once, and be greater than "
        "`after`, or the loop would lose rows or never end; let fetch select WHERE key > after ORDER BY key, "
        "and make the key unique, as in key=lambda row: (row.created_at, row.id)"
    )


def _other_order(previous: object, key: object) -> UsageError:
    return UsageError(
        f"fetch returned key {key!r} after {previous!r}, but where a key set is cut into parts, text is compared by "
        'code point; let fetch select ORDER BY key COLLATE "C" and compare with the same collation, or use keys that '
        "are not text"
    )
