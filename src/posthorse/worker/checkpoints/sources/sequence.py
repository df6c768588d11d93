"""Sequences as sources, and the only place that decides what can be sliced at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from io import IOBase
from os import PathLike
from typing import Generic, TypeVar, cast

from posthorse.errors import InvalidSource, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Cut, Range, cut_at, even_cuts
from posthorse.worker.checkpoints.sources.base import AsyncSource, Chunk, Source
from posthorse.worker.checkpoints.sources.querysets import QuerySetSource, is_queryset

T = TypeVar("T")

_WHOLE = Range()


def as_source(value: object) -> Source[object] | AsyncSource[object]:
    """Return `value` if it is a source, or a source of its items.

    A sequence (list, tuple, range, …) is resumed by its index, so a job that runs again must meet the same items in the
    same order. What cannot be resumed is refused with an InvalidSource that suggests an alternative.
    """
    if isinstance(value, _CHARACTERS):
        raise _refusal(type(value), *_CHARACTERS_REFUSED)
    if isinstance(value, Source | AsyncSource):
        return cast("Source[object] | AsyncSource[object]", value)
    if is_queryset(value):
        return QuerySetSource(value)
    if isinstance(value, Sequence):
        return SequenceSource(cast("Sequence[object]", value))
    for kinds, reason, instead in _REFUSED:
        if isinstance(value, kinds):
            raise _refusal(type(value), reason, instead)
    raise _refusal(type(value), "it has no items", "a sequence, ph.keyset(…), ph.rows(…), ph.files(…) or a Source")


@dataclass(frozen=True, slots=True)
class SequenceSource(Generic[T]):
    """Any sequence; the cursor is the number of items done."""

    items: Sequence[T]
    range: Range = _WHOLE

    def count(self) -> int:
        begin, end = self._ends(self.range.after, self.range.upto)
        return end - begin

    def read(self, cursor: Cursor, limit: int) -> Chunk[T]:
        done, length = self._ends(self.range.after if cursor is None else cursor, self.range.upto)
        end = min(done + limit, length)
        if isinstance(self.items, _SLICEABLE):
            items = cast("Sequence[T]", self.items[done:end])
        else:  # not every sequence can be sliced: a deque cannot
            items = [self.items[index] for index in range(done, end)]
        return Chunk(items, end, is_last=end == length)

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        begin, end = self._ends(after, upto)
        cuts = (Cut(begin + items, items) for items in even_cuts(end - begin, parts))
        return cut_at(Range(after, upto, end - begin), cuts)

    def within(self, range: Range) -> SequenceSource[T]:
        return SequenceSource(self.items, range)

    @property
    def beside_loop(self) -> Callable[..., Awaitable[object]]:
        """Where to read: items in memory on the event loop, a user's sequence in a thread, because it may block."""
        return _at_once if type(self.items) in (list, tuple, range) else asyncio.to_thread

    def close(self) -> None:
        """Do nothing: it holds nothing open."""

    def _ends(self, after: Cursor, upto: Cursor) -> tuple[int, int]:
        """Return the indices between two positions."""
        length = len(self.items)
        begin, end = _items_done(after), length if upto is None else _items_done(upto)
        if begin > length or end > length:
            raise UsageError(
                f"{max(begin, end):,} items were {'done' if begin > length else 'there when they were cut'}, but the "
                f"sequence has only {length:,} now; a job that goes on must meet the same items in the same order: "
                "make them from its arguments alone, or slice ph.keyset(…), which goes on after a key"
            )
        return begin, max(begin, end)


_SLICEABLE = (list, tuple, range)


async def _at_once(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _items_done(cursor: Cursor) -> int:
    if cursor is None:
        return 0
    if isinstance(cursor, int) and not isinstance(cursor, bool) and cursor >= 0:
        return cursor
    raise UsageError(
        f"the saved position {cursor!r} is not an index of a sequence; was the loop changed since the job began?"
    )


_CHARACTERS: tuple[type[object], ...] = (str, bytes, bytearray, memoryview)
_CHARACTERS_REFUSED = (
    "its items would be single characters or bytes",
    "[value] for one item, value.splitlines() for its lines, ph.lines(path) for a file",
)
_REFUSED: tuple[tuple[tuple[type[object], ...], str, str], ...] = (
    ((Mapping,), "a mapping has no index to go on from", "sorted(value.items())"),
    ((Set,), "its order changes from run to run", "sorted(value)"),
    ((IOBase,), "an open file cannot be found again after a restart", "ph.lines(path) or ph.csv(path)"),
    ((PathLike,), "a path does not say how to read it", "ph.lines(path) or ph.csv(path), or ph.files(path)"),
    (
        (AsyncIterable,),
        "it can be run through only once, and after a restart it starts over",
        "ph.keyset(fetch, key=…) with an `async def fetch(after, limit)` that gives what comes after a key, or a "
        "class with acount(), aread(cursor, limit) and close()",
    ),
    (
        (Iterator,),
        "it can be run through only once, and after a restart it starts over",
        "a list or a range, or ph.keyset(fetch, key=…), which goes on after a key",
    ),
    ((Iterable,), "it has no index to go on from", "list(value), if that has the same order every time"),
)


def _refusal(kind: type[object], reason: str, instead: str) -> InvalidSource:
    return InvalidSource(f"cannot slice a {kind.__qualname__}: {reason}; use {instead}")
