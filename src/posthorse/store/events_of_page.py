"""Make the events of a page: what one commit did to many jobs becomes an event for each job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from posthorse.clock import moment
from posthorse.rules.job import JobError
from posthorse.rules.job_events import CLASSES, EventFilter, Face, JobEvent, StreamEvent
from posthorse.rules.packing import PackedError, Packing
from posthorse.rules.store_events import STORE_CLASSES, StoreEvent, queue_of, store_event
from posthorse.rules.stream_cursor import StreamCursor, StreamPlace
from posthorse.store.operations.stream import Block, FaceRow, NextBlocks

_decode_tags = msgspec.json.Decoder(list[str]).decode


class Placed(NamedTuple):
    """An event, and where it is: `at` begins it, and `after` is where to read on."""

    at: StreamPlace
    after: StreamPlace
    face: Face
    make: Callable[[], StreamEvent]
    name: str
    mark: int = 0
    """Of `after`."""


def events_of(page: NextBlocks, packing: Packing) -> Iterator[Placed]:
    """Yield the events of a page in order. Those of jobs that were removed meanwhile are passed over."""
    life = page.state.life or ""
    for block in page.blocks:
        if block.row.name in STORE_CLASSES:
            if not block.skip:
                yield _of_store(block, life)
            continue
        if block.row.name not in CLASSES:
            continue  # of a newer version
        for index in range(block.skip, len(block.jobs)):
            row = page.faces.get(block.jobs[index])
            if row is None:
                continue
            at, after = (StreamPlace(block.tick, block.row.place, number) for number in (index, index + 1))
            yield Placed(
                at,
                after,
                Face(row.kind, row.queue, row.tenant),
                _Making(page, block, row, life, after, packing),
                block.row.name,
                _mark(block),
            )


def _of_store(block: Block, life: str) -> Placed:
    """Place an event that concerns no job."""
    row, detail = block.row, block.row.detail or "{}"
    at, after = StreamPlace(block.tick, row.place), StreamPlace(block.tick, row.place, 1)

    def make() -> StoreEvent:
        return store_event(row.name, row.at, detail, str(StreamCursor(life, after, _mark(block))))

    return Placed(at, after, Face(None, queue_of(row.name, detail), None), make, row.name, _mark(block))


def wanted(placed: Placed, wants: EventFilter) -> bool:
    """Return whether a filter wants an event."""
    return (wants.names is None or placed.name in wants.names) and wants.wants(placed.face)


def _mark(block: Block) -> int:
    """Return the mark of places behind the jobs of a block; there are none where there are ticks."""
    return 0 if block.tick else block.row.at


class _Making:
    """Makes one event, once, for all that want it."""

    __slots__ = ("_after", "_block", "_life", "_made", "_packing", "_page", "_row")

    def __init__(
        self, page: NextBlocks, block: Block, row: FaceRow, life: str, after: StreamPlace, packing: Packing
    ) -> None:
        self._page = page
        self._block = block
        self._row = row
        self._life = life
        self._after = after
        self._packing = packing
        self._made: JobEvent | None = None

    def __call__(self) -> JobEvent:
        if self._made is None:
            block, row = self._block, self._row
            self._made = CLASSES[block.row.name](
                job=row.id,
                kind=row.kind,
                queue=row.queue,
                tenant=row.tenant,
                tags=_tags(row.tags),
                attempt=block.row.attempt,
                at=moment(block.row.at),
                cursor=str(StreamCursor(self._life, self._after, _mark(block))),
                number=block.row.version,
                error=self._error(),
            )
        return self._made

    def _error(self) -> JobError | None:
        version = self._block.row.version
        detail = None if version is None else self._page.details.get((self._row.id, version))
        if detail is None or '"type"' not in detail:
            return None
        try:
            packed = msgspec.json.decode(detail, type=PackedError)
        except msgspec.MsgspecError:
            return None
        opened = self._packing.of_stored(self._row.id, self._row.options).opened(packed)
        return JobError(opened.type, opened.message)


def _tags(stored: str | None) -> list[str]:
    try:
        return _decode_tags(stored) if stored else []
    except msgspec.MsgspecError:
        return []
