"""Key sets as sources: rows fetched after the key of the last one, page by page, from a database or an API.

This module knows no database: `fetch` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import datetime
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Generic, TypeAlias, TypeVar, cast, overload

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, in_utc, key_of_cursor
from posthorse.worker.checkpoints.sources.base import AsyncSource, Chunk, Source

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
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Awaitable[Iterable[T]]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: Total | AsyncTotal = None,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: K,
    stop: K | None = None,
    total: AsyncTotal,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: AsyncTotal,
) -> AsyncSource[T]: ...
@overload
def keyset(
    fetch: Callable[[K, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: K,
    stop: K | None = None,
    total: Total = None,
) -> Source[T]: ...
@overload
def keyset(
    fetch: Callable[[K | None, int], Iterable[T]],
    *,
    key: Callable[[T], K],
    start: None = None,
    stop: K | None = None,
    total: Total = None,
) -> Source[T]: ...
def keyset(
    fetch: Callable[[K, int], Iterable[T]] | Callable[[K, int], Awaitable[Iterable[T]]],
    *,
    key: Callable[[T], K],
    start: K | None = None,
    stop: K | None = None,
    total: Total | AsyncTotal = None,
) -> Source[T] | AsyncSource[T]:
    """Return rows as a source, in the order of a unique key, a page at a time.

    fetch(after, limit): returns at most `limit` rows whose keys come after `after`, in rising order. An empty page
        ends the loop; a short one does not, so nothing is lost if an API caps or filters pages.
    key(row): the row's key: an int, float, str, datetime, date, UUID, Decimal, bytes, or a tuple of these. It
        must be unique. If it is not, as a time of creation, add one that is: (row.created_at, row.id).
    start: the first `after`. stop: the last key that belongs to the loop; rows after it end the loop.
    total: how many rows there are from the start, for progress: a number, or a function that returns it.

    `fetch` and `total` may be coroutine functions; then the loop must be an `async for`.

    Keys that do not rise are an error, because the loop would lose rows or never end. Each database orders text in its
    own way, so text keys are only checked for repetition; `stop` compares them by code point, as SQLite and the
    collation "C" do.
    """
    rows = _Rows(key, start, stop)
    if _is_async(fetch) or _is_async(total):
        return AsyncKeyset(fetch, rows, total)
    return Keyset(cast("Callable[[K, int], Iterable[T]]", fetch), rows, cast("Total", total))


class Keyset(Generic[K, T]):
    """A key set whose `fetch` returns rows."""

    def __init__(self, fetch: Callable[[K, int], Iterable[T]], rows: _Rows[K, T], total: Total) -> None:
        self._fetch = fetch
        self._rows = rows
        self._total = total

    def count(self) -> int | None:
        return _at_once(self._total(), "total") if callable(self._total) else self._total

    def read(self, cursor: Cursor, limit: int) -> Chunk[T]:
        after = self._rows.after(cursor)
        return self._rows.chunk(_at_once(self._fetch(after, limit), "fetch"), after, cursor, limit)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""


class AsyncKeyset(Generic[K, T]):
    """A key set whose `fetch` must be awaited."""

    def __init__(
        self,
        fetch: Callable[[K, int], Iterable[T] | Awaitable[Iterable[T]]],
        rows: _Rows[K, T],
        total: Total | AsyncTotal,
    ) -> None:
        self._fetch = fetch
        self._rows = rows
        self._total = total

    async def acount(self) -> int | None:
        total = self._total() if callable(self._total) else self._total
        return await total if isawaitable(total) else total

    async def aread(self, cursor: Cursor, limit: int) -> Chunk[T]:
        after = self._rows.after(cursor)
        rows = self._fetch(after, limit)
        return self._rows.chunk(await rows if isawaitable(rows) else rows, after, cursor, limit)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""


class _Rows(Generic[K, T]):
    """Fetched rows, which become chunks once it is checked that their keys rise."""

    def __init__(self, key: Callable[[T], K], start: K | None, stop: K | None) -> None:
        self._key = key
        self._start = start
        self._stop = in_utc(stop)
        # The end and the keys of the previous chunk, if they contain text: they show whether rows repeat.
        self._before: tuple[Cursor, set[K]] = (None, set())

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
