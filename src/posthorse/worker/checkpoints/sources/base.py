"""The base of all sources: something that can count itself and read on from any position that it has returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Range

T_co = TypeVar("T_co", covariant=True)


class Unreadable(msgspec.Struct, frozen=True):
    """A record that cannot be read: how it looks, and what is wrong with it."""

    text: str
    error: Exception


class Chunk(msgspec.Struct, Generic[T_co], frozen=True):
    """The next items of a source, and the position after them.

    cursor: the position after the last of `items`, saved once they are done.
    is_last: nothing follows. Not every source knows that in time: the chunk after the last full one may be
        empty, and then it is the last.
    """

    items: Sequence[T_co]
    cursor: Cursor
    is_last: bool
    unreadable: Sequence[Unreadable] = ()
    """What `read_past` skipped before that position."""


@runtime_checkable
class Source(Protocol[T_co]):
    """Items in a fixed order that can be read on from any committed position.

    Consecutive reads cost what their items cost; only a read elsewhere, as after a restart, may cost more.
    """

    def count(self) -> int | None:
        """Return how many items there are from the very start; None if that is unknown or too expensive."""

    def read(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]:
        """Return at most `limit` items after this position; None is the start."""
        ...

    def close(self) -> None:
        """Release what is held open. A closed source may be read again: it opens anew."""


@runtime_checkable
class ReadsPast(Protocol[T_co]):
    """An optional ability of a source: to skip a record that cannot be read."""

    def read_past(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]:
        """Read as `read` does, for a loop that tolerates bad items: skip what cannot be read."""
        ...


@runtime_checkable
class Findable(Protocol):
    """An optional ability of a source: to find single items again, so that bad ones are retried as they are then."""

    def key_of(self, item: object, /) -> Cursor:
        """Return the key by which `find` finds this item."""
        ...

    def find(self, keys: Sequence[Cursor], /) -> Sequence[object]:
        """Return the items of these keys, in any order, without those that are gone."""
        ...


@runtime_checkable
class Splittable(Protocol[T_co]):
    """An optional ability of a source: to be cut into ranges, each of which is a source of its own."""

    def split(self, parts: int, after: Cursor, upto: Cursor, /) -> Sequence[Range]:
        """Cut what comes after one position, up to and including another, into at most `parts` ranges, in order.

        `after` is None for the start, `upto` is None for the end. The ranges cover the whole exactly once: each begins
        where the one before ends. They need not be even. A source with fewer items than parts returns fewer ranges;
        one that is empty, or cannot be cut there, returns one.
        """
        ...

    def within(self, range: Range, /) -> Source[T_co]:
        """Return a source of the items of this range: its start is `range.after`, its count `range.total`.

        Its positions are those of the whole source. It must be usable in another process than this one.
        """
        ...


@runtime_checkable
class AsyncSource(Protocol[T_co]):
    """A source that must be awaited."""

    async def acount(self) -> int | None: ...

    async def aread(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]: ...

    def close(self) -> None: ...


@runtime_checkable
class AsyncFindable(Protocol):
    """The ability `Findable` of a source that must be awaited."""

    def key_of(self, item: object, /) -> Cursor: ...

    async def afind(self, keys: Sequence[Cursor], /) -> Sequence[object]: ...


@runtime_checkable
class AsyncSplittable(Protocol[T_co]):
    """The ability `Splittable` of a source that must be awaited."""

    async def asplit(self, parts: int, after: Cursor, upto: Cursor, /) -> Sequence[Range]: ...

    def within(self, range: Range, /) -> AsyncSource[T_co]: ...
