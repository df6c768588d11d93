"""The two drivers of a loop, sync and async: the same steps, done at once in a thread or awaited in a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from posthorse.rules.cursor import Cursor
from posthorse.store.base import Operation
from posthorse.worker.checkpoints.checkpoint_state import Slice
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources.base import (
    AsyncFindable,
    AsyncSource,
    AsyncSplittable,
    Chunk,
    Findable,
    ReadsPast,
    Source,
    Splittable,
)

Beside: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function outside of the event loop: in a thread, or wherever the source wants."""


class Committable(Protocol):
    """A slice, or what is given away, that can be committed in either way."""

    def commit(self) -> None: ...
    async def acommit(self) -> None: ...


class Driver(Protocol):
    """The steps of a loop. Each method returns its result, or an awaitable of it."""

    def count(self) -> object: ...
    def read(self, cursor: Cursor, limit: int, /) -> object: ...
    def find(self, keys: Sequence[Cursor], /) -> object: ...
    def split(self, source: object, parts: int, after: Cursor, upto: Cursor, /) -> object: ...
    def ask(self, operation: Operation[object], /) -> object: ...
    def commit(self, slice: Committable, /) -> object: ...
    def save(self, done: Slice, /) -> object: ...
    def turn_to(self, source: Source[object] | AsyncSource[object], /) -> None: ...


class SyncDriver:
    """The driver that does each step at once."""

    def __init__(self, journal: Journal, source: Source[object], *, reads_past: bool = False) -> None:
        """`reads_past`: skip records that cannot be read, if the source can do that."""
        self._reads_past = reads_past
        self.ask = journal.read
        self.save = journal.save
        self._source = source
        self.count = source.count
        self.read = _reading(source, reads_past)

    def turn_to(self, source: Source[object] | AsyncSource[object]) -> None:
        assert isinstance(source, Source), "a range of a source is read as the source is"
        self._source = source
        self.count = source.count
        self.read = _reading(source, self._reads_past)

    def find(self, keys: Sequence[Cursor]) -> Sequence[object]:
        source = self._source
        return source.find(keys) if isinstance(source, Findable) else ()

    def split(self, source: object, parts: int, after: Cursor, upto: Cursor) -> object:
        return source.split(parts, after, upto) if isinstance(source, Splittable) else ()

    def commit(self, slice: Committable) -> None:
        slice.commit()


class AsyncDriver:
    """The driver whose steps are awaited. A source that blocks is read in a thread, not on the event loop."""

    def __init__(
        self, journal: Journal, source: Source[object] | AsyncSource[object], *, reads_past: bool = False
    ) -> None:
        self._reads_past = reads_past
        self.ask = journal.aread
        self.save = journal.asave
        self._beside: Beside
        self.count: Callable[[], Awaitable[object]]
        self.read: Callable[[Cursor, int], Awaitable[object]]
        self.turn_to(source)

    def turn_to(self, source: Source[object] | AsyncSource[object]) -> None:
        self._source = source
        self._beside = getattr(source, "beside_loop", asyncio.to_thread)
        # Checked once only: checking whether a source implements a protocol takes longer than committing a slice.
        if isinstance(source, AsyncSource):
            self.count, self.read = source.acount, source.aread
        else:
            self.count = partial(self._beside, source.count)
            self.read = partial(self._beside, _reading(source, self._reads_past))

    def commit(self, slice: Committable) -> Awaitable[None]:
        return slice.acommit()

    async def find(self, keys: Sequence[Cursor]) -> Sequence[object]:
        source = self._source
        if isinstance(source, AsyncFindable):
            return await source.afind(keys)
        return await self._beside(source.find, keys) if isinstance(source, Findable) else ()

    async def split(self, source: object, parts: int, after: Cursor, upto: Cursor) -> object:
        if isinstance(source, AsyncSplittable):
            return await source.asplit(parts, after, upto)
        return await self._beside(source.split, parts, after, upto) if isinstance(source, Splittable) else ()


def _reading(source: Source[object], reads_past: bool) -> Callable[[Cursor, int], Chunk[object]]:
    past: object = source
    return past.read_past if reads_past and isinstance(past, ReadsPast) else source.read
