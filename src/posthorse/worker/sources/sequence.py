"""Sequences as sources, and the one place that decides what may be sliced at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from io import IOBase
from typing import Generic, TypeVar, cast

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor
from posthorse.worker.sources.base import AsyncSource, Chunk, Source

T = TypeVar("T")


def as_source(value: object) -> Source[object] | AsyncSource[object]:
    """The source that `value` is, or that its items make.

    A sequence (list, tuple, range, …) is resumed by its index: a job that is run again must meet the same
    items in the same order. What cannot be resumed is refused with a TypeError that names the way out.
    """
    if isinstance(value, str | bytes | bytearray | memoryview):
        raise _refusal(
            value,
            "its items would be single characters or bytes",
            "[value] for one item, value.splitlines() for its lines, ph.lines(path) for a file",
        )
    if isinstance(value, Source | AsyncSource):
        return cast("Source[object] | AsyncSource[object]", value)
    if isinstance(value, Sequence):
        return SequenceSource(cast("Sequence[object]", value))
    raise _why_not(value)


@dataclass(frozen=True, slots=True)
class SequenceSource(Generic[T]):
    """Any sequence; the cursor is the number of items done."""

    items: Sequence[T]

    def count(self) -> int:
        return len(self.items)

    def read(self, cursor: Cursor, limit: int) -> Chunk[T]:
        done, length = _items_done(cursor), len(self.items)
        if done > length:
            raise UsageError(
                f"{done:,} items were done, but the sequence has only {length:,} now; a job that goes on must "
                "meet the same items in the same order: make them from its arguments alone, or slice "
                "ph.keyset(…), which goes on after a key"
            )
        end = min(done + limit, length)
        if isinstance(self.items, list | tuple | range):
            items = self.items[done:end]
        else:  # a sequence need not know slices: a deque does not
            items = [self.items[index] for index in range(done, end)]
        return Chunk(items, end, is_last=end == length)

    def close(self) -> None:
        """Nothing is held open."""


def _items_done(cursor: Cursor) -> int:
    if cursor is None:
        return 0
    if isinstance(cursor, int) and not isinstance(cursor, bool) and cursor >= 0:
        return cursor
    raise UsageError(
        f"the saved position {cursor!r} is no index of a sequence; was the loop changed since the job began?"
    )


def _why_not(value: object) -> TypeError:
    if isinstance(value, Mapping):
        return _refusal(value, "a mapping has no index to go on from", "sorted(value.items())")
    if isinstance(value, Set):
        return _refusal(value, "its order changes from run to run", "sorted(value)")
    if isinstance(value, IOBase):
        return _refusal(
            value, "an open file cannot be reopened after a restart", "ph.lines(path), ph.csv(path)"
        )
    if isinstance(value, os.PathLike):
        return _refusal(value, "a path says not how it is read", "ph.lines(path), ph.csv(path)")
    if isinstance(value, Iterator | AsyncIterable):
        return _refusal(
            value,
            "it can be run through only once and starts over after a restart",
            "a list or range, or ph.keyset(fetch, key=…) that goes on after a key",
        )
    if isinstance(value, Iterable):
        return _refusal(value, "it has no index to go on from", "list(value) if its order is always the same")
    return _refusal(value, "it has no items", "a sequence, ph.keyset(…), ph.lines(…), ph.csv(…) or a Source")


def _refusal(value: object, reason: str, instead: str) -> TypeError:
    return TypeError(f"cannot slice a {type(value).__qualname__}: {reason}; use {instead}")
