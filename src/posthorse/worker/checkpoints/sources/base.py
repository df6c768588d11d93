"""What a source is: something that counts itself and reads on from any position that it gave out before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from posthorse.rules.cursor import Cursor

T_co = TypeVar("T_co", covariant=True)


class Unreadable(msgspec.Struct, frozen=True):
    """A record that is there and cannot be read: how it looks, and what is wrong with it."""

    text: str
    error: Exception


class Chunk(msgspec.Struct, Generic[T_co], frozen=True):
    """The next items of a source, and where it stands after them.

    cursor: the position after the last of `items`, to be saved when they are done.
    is_last: nothing follows. Not every source knows that early: the chunk after the last full one may be
        empty, and then it is the last.
    """

    items: Sequence[T_co]
    cursor: Cursor
    is_last: bool
    unreadable: Sequence[Unreadable] = ()
    """What was passed over before that position, by `read_past`."""


@runtime_checkable
class Source(Protocol[T_co]):
    """Items in a fixed order that can be read on from any committed position.

    Consecutive reads cost what their items cost; only a read elsewhere, as after a restart, may cost more.
    """

    def count(self) -> int | None:
        """How many items there are from the very start; None if that is unknown or too dear to find out."""

    def read(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]:
        """At most `limit` items after this position; None is the start."""
        ...

    def close(self) -> None:
        """Give back what is held open. A closed source may be read again: it opens anew."""


@runtime_checkable
class ReadsPast(Protocol[T_co]):
    """What a source may be besides: able to go on behind a record that cannot be read."""

    def read_past(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]:
        """The same as `read`, for a loop that tolerates bad items: what cannot be read is passed over."""
        ...


@runtime_checkable
class Findable(Protocol):
    """What a source may be besides: able to find single items again, so that bad ones are retried as they are then."""

    def key_of(self, item: object, /) -> Cursor:
        """What finds this item again."""
        ...

    def find(self, keys: Sequence[Cursor], /) -> Sequence[object]:
        """The items of these keys, in any order; those that are gone are left out."""
        ...


@runtime_checkable
class AsyncSource(Protocol[T_co]):
    """The same for sources that must be awaited."""

    async def acount(self) -> int | None: ...

    async def aread(self, cursor: Cursor, limit: int, /) -> Chunk[T_co]: ...

    def close(self) -> None: ...


@runtime_checkable
class AsyncFindable(Protocol):
    """The same for sources that must be awaited."""

    def key_of(self, item: object, /) -> Cursor: ...

    async def afind(self, keys: Sequence[Cursor], /) -> Sequence[object]: ...
