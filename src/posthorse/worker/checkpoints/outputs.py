"""Outputs: what the children of a job, or the jobs of a list, returned, read from the store page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import msgspec

from posthorse.rules.cursor import Cursor
from posthorse.rules.job import Options, State
from posthorse.store.operations.outputs import AT_ONCE, FIRST, OutputRow, page_of_outputs
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources import Chunk


class Outputs:
    """What jobs returned, as plain data, in the order in which they were added. Those that did not complete are left
    out.

    Iterate over it with `for` or `async for`, or give it to `ctx.slices`. It reads the store page by page, so it takes
    little memory however many there are. `list(outputs)` reads all.
    """

    def __init__(self, journal: Journal, parent: str, round: int | None = None) -> None:
        """`round`: of the children that a job added, those that came after so many joins."""
        self._journal = journal
        self._parent = parent
        self._round = round

    def __iter__(self) -> Iterator[Any]:
        after = FIRST
        while rows := self._journal.read(page_of_outputs(self._parent, after, AT_ONCE)):
            after = rows[-1].id
            yield from self._values(rows)

    async def __aiter__(self) -> AsyncIterator[Any]:
        after = FIRST
        while rows := await self._journal.aread(page_of_outputs(self._parent, after, AT_ONCE)):
            after = rows[-1].id
            for value in self._values(rows):
                yield value

    def count(self) -> int | None:
        """Return None: how many of the jobs have an output is known only at the end."""
        return None

    def read(self, cursor: Cursor, limit: int, /) -> Chunk[Any]:
        """Return at most `limit` outputs after a position, for `ctx.slices`."""
        after = FIRST if cursor is None else cast("str", cursor)
        while rows := self._journal.read(page_of_outputs(self._parent, after, limit)):
            after = rows[-1].id
            if values := list(self._values(rows)):
                return Chunk(values, after, is_last=False)
        return Chunk((), None if after == FIRST else after, is_last=True)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""

    def _values(self, rows: Sequence[OutputRow]) -> Iterator[object]:
        for row in rows:
            if row.state == State.COMPLETED and self._is_one_of(row):
                text = self._journal.texts_of(row.id, row.options).unpack(row.result or "null", "result")
                yield msgspec.json.decode(text)

    def _is_one_of(self, row: OutputRow) -> bool:
        if self._round is None:
            return True
        place = Options.decode(row.options).flow
        return (0 if place is None else place.round) == self._round
