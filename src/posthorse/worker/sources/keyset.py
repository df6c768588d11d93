"""Key sets: rows fetched after the key of the last one, as a database or an API gives them page by page.

It knows no database: `fetch` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Generic, TypeAlias, TypeVar, cast, overload

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, key_of_cursor
from posthorse.worker.sources.base import AsyncSource, Chunk, Source

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
    """Rows in the order of a unique key, a page at a time.

    fetch(after, limit): at most `limit` rows whose keys come after `after`, in rising order. An empty answer
        ends the loop; a short one does not, so pages that an API caps or filters lose nothing.
    key(row): the row's key: an int, float, str, datetime, date, UUID, Decimal, bytes, or a tuple of these. It
        must be unique. Where it is not, as a time of creation, add one that is: (row.created_at, row.id).
    start: the first `after`. stop: the last key that belongs to the loop; rows behind it end it.
    total: how many rows there are from the start, for progress: a number, or what finds it out.

    `fetch` and `total` may be coroutine functions: then the loop is an `async for`.

    Keys that do not rise are an error: the loop would lose rows or never end. Text is ordered by each database
    in its own way, so of text only repetition is noticed; `stop` compares it by code point, as SQLite and the
    collation "C" do.
    """
    rows = _Rows(key, start, stop)
    if _is_async(fetch) or _is_async(total):
        return AsyncKeyset(fetch, rows, total)
    return Keyset(cast("Callable[[K, int], Iterable[T]]", fetch), rows, cast("Total", total))


class Keyset(Generic[K, T]):
    """A key set whose `fetch` answers at once."""

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
        """Nothing is held open."""


class AsyncKeyset(Generic[K, T]):
    """A key set that must be awaited."""

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

    async def aclose(self) -> None:
        """Nothing is held open."""


class _Rows(Generic[K, T]):
    """Turns fetched rows into chunks, and watches that their keys rise."""

    def __init__(self, key: Callable[[T], K], start: K | None, stop: K | None) -> None:
        self._key = key
        self._start = start
        self._stop = stop
        self._keys_before: set[K] = set()  # of the chunk before, where order alone cannot tell repetition

    def after(self, cursor: Cursor) -> K:
        # Without a start, fetch takes None as well: the overloads of keyset() see to it.
        return cast("K", self._start if cursor is None else key_of_cursor(cursor))

    def chunk(self, fetched: Iterable[T], after: K, cursor: Cursor, limit: int) -> Chunk[T]:
        rows = list(fetched)
        if len(rows) > limit:
            raise UsageError(
                f"fetch returned {len(rows):,} rows for a limit of {limit:,}; it must keep to its second argument"
            )
        keys = [self._key(row) for row in rows]
        self._check_order(after, keys)
        within = self._within(keys)
        if not within:
            return Chunk((), cursor, is_last=True)
        last = keys[within - 1]
        is_last = within < len(rows) or last == self._stop
        return Chunk(rows[:within], cursor_of_key(last), is_last)

    def _check_order(self, after: K, keys: list[K]) -> None:
        previous: K | None = after
        seen: set[K] = set()
        for key in keys:
            if previous is not None:
                rises = _rises(previous, key)
                if rises is False or (rises is None and (key in seen or key in self._keys_before)):
                    raise _disorder(previous, key)
                if rises is None:
                    seen.add(key)
            previous = key
        if previous is not after and isinstance(previous, str | tuple):
            self._keys_before = set(keys)

    def _within(self, keys: list[K]) -> int:
        """How many of these keys come before the stop, or are it."""
        if self._stop is not None:
            for position, key in enumerate(keys):
                if _is_less(self._stop, key):
                    return position
        return len(keys)


def _is_async(function: object) -> bool:
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _at_once(answer: T, name: str) -> T:
    if not isawaitable(answer):
        return answer
    if iscoroutine(answer):
        answer.close()
    raise UsageError(
        f"{name} returned an awaitable; write it as `async def`, so that it is seen to need awaiting"
    )


def _rises(earlier: object, later: object) -> bool | None:
    """Whether `later` comes after `earlier`; None where only the database can tell: text of its own order."""
    if isinstance(earlier, tuple) and isinstance(later, tuple):
        pairs = zip(cast("tuple[object, ...]", earlier), cast("tuple[object, ...]", later), strict=False)
        for one, other in pairs:
            if one != other:
                return _rises(one, other)
        return False
    if isinstance(earlier, str) and isinstance(later, str):
        return None if earlier != later else False
    return _is_less(earlier, later)


def _is_less(earlier: object, later: object) -> bool:
    try:
        return cast("bool", earlier < later)  # type: ignore[operator]  # keys of one kind; others fail below
    except TypeError:
        raise UsageError(
            f"the keys {earlier!r} and {later!r} cannot be compared; key=, start= and stop= must be of one type"
        ) from None


def _disorder(previous: object, key: object) -> UsageError:
    return UsageError(
        f"fetch returned key {key!r} after {previous!r}: keys must rise, each only once, and be greater than "
        "`after`, or the loop would lose rows or never end; let fetch select rows WHERE key > after ORDER BY key, "
        "and make the key unique, as in key=lambda row: (row.created_at, row.id)"
    )
