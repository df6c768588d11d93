"""Reading the stream of what happened to jobs: pages of blocks, and what their events say of each job.

A reader gets every block once, in one order for all readers. Where commits come one after the other, that is the order
of places. Elsewhere a row may become visible after rows with higher numbers, for as long as its transaction was open;
so readers take *ticks*, which are snapshots: what one tick sees, and the one before did not, comes between the two. The
tick is looked for first, and its rows are read after, so that a later one is never read in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import SECOND
from posthorse.rules.stream_cursor import Kept, StreamCursor, StreamPlace
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.telling import LIFE, MAX_TICK

MAX_BLOCKS, MAX_JOBS = 100, 2_000
"""What one page holds at most: rows, and jobs in them, but for the last row."""

MAX_TICKS = 10
"""Ticks that one commit marks."""

FORGOTTEN_AT_ONCE = 1_000
"""Rows that one commit of retention removes."""


class StreamState(NamedTuple):
    """The stream as it is: which life, which ticks and rows are kept, and whether there is news since the last tick."""

    life: str | None
    oldest_tick: int
    newest_tick: int
    oldest_place: int
    newest_place: int
    newest_mark: int
    """When the newest row was told; 0 where there are ticks."""
    has_news: int
    is_foreign: int
    """Whether the last tick is of another server, so that the stream begins anew."""

    @property
    def newest(self) -> StreamCursor:
        """What comes next."""
        return StreamCursor(self.life or "", self.kept.newest, self.newest_mark)

    @property
    def kept(self) -> Kept:
        """Which places can be read. The oldest tick only bounds the one after it."""
        if self.newest_tick:
            return Kept(StreamPlace(self.oldest_tick + 1), StreamPlace(self.newest_tick + 1))
        return Kept(StreamPlace(0, self.oldest_place), StreamPlace(0, self.newest_place + 1))


class BlockRow(NamedTuple):
    """A row of the stream: what one commit did to some jobs. version: of the job, if it is one alone.

    detail: of what concerns no job, as JSON; then `jobs` is an empty list.
    """

    place: int
    at: int
    name: str
    attempt: int | None
    version: int | None
    jobs: str
    detail: str | None


class FaceRow(NamedTuple):
    """What events say of a job besides what happened."""

    id: str
    kind: str
    queue: str
    tenant: str | None
    tags: str | None
    options: str | None


class Block(NamedTuple):
    """A block, and the tick that it came with. The first `skip` of its jobs were read before."""

    tick: int
    row: BlockRow
    jobs: Sequence[str]
    skip: int

    @property
    def events(self) -> int:
        """How many events it stands for."""
        return len(self.jobs) or 1


class NextBlocks(NamedTuple):
    """The next blocks from a place on. after: where the next page begins, with its mark. has_news: a tick would show
    more. is_other: whether the place is of a store that was restored since.
    """

    state: StreamState
    blocks: Sequence[Block]
    after: StreamPlace
    mark: int
    is_last: bool
    is_other: bool
    faces: Mapping[str, FaceRow]
    details: Mapping[tuple[str, int], str | None]


STREAM_STATE = TypedQuery("stream_state", StreamState)
TOLD_BETWEEN = TypedQuery("told_between", BlockRow)
TICK = TypedQuery("tick", tuple[int, int])
MARK_OF_PLACE = TypedQuery("mark_of_place", tuple[int])
FACES = TypedQuery("faces", FaceRow)
DETAILS = TypedQuery("details", tuple[str, int, str | None])
FORGET_TOLD = TypedQuery("forget_told", tuple[int])
FORGET_WATCHERS = TypedQuery("forget_watchers", tuple[str])

_decode_jobs = msgspec.json.Decoder(list[str]).decode


@operation
def stream_state() -> QuerySteps[StreamState]:
    """Return which part of the stream can be read."""
    [state] = yield from STREAM_STATE()
    return state


@creating_no_work
@operation
def mark_tick(new_life: str) -> QuerySteps[bool]:
    """Make what is committed readable, if there is news; return whether there is more to mark.

    After a long time in which no process did, that is much: then it becomes several ticks, each of which can be read
    and forgotten at a moderate cost. The stream of another server begins anew.
    """
    [state] = yield from STREAM_STATE()
    if state.is_foreign:
        yield query("begin_stream_anew")
        yield query("set_meta", name=LIFE, value=new_life)
    for _ in range(MAX_TICKS):
        marked = yield from TICK(limit=MAX_TICK)
        if not any(is_cut for _, is_cut in marked):
            return False
    return True


@operation
def read_page(
    place: StreamPlace | None, names: Sequence[str] | None = None, *, mark: int = 0
) -> QuerySteps[NextBlocks]:
    """Read the next blocks from a place on; None for the oldest that is kept. names: whose jobs are looked up. mark: of
    the place, if it is known.

    What retention removed meanwhile is missing: then the state, which is read last, says that the place is too old.
    """
    [state] = yield from STREAM_STATE()
    newest = state.kept.newest
    place = state.kept.oldest if place is None else place
    is_other = bool(mark) and (yield from _mark_of(place)) not in (0, mark)
    blocks: list[Block] = []
    count, is_last = 0, False
    while count < MAX_JOBS and len(blocks) < MAX_BLOCKS:
        if place >= newest:
            is_last = True
            break
        limit = MAX_BLOCKS - len(blocks)
        rows = yield from TOLD_BETWEEN(tick=place.tick, place=place.place, limit=limit)
        for row in rows:
            jobs = _decode_jobs(row.jobs)
            skip = place.skip if row.place == place.place else 0
            block = Block(place.tick, row, jobs, skip)
            blocks.append(block)
            count += max(0, block.events - skip)
            if count >= MAX_JOBS:
                break
        if blocks and (count >= MAX_JOBS or len(rows) == limit):
            last = blocks[-1]
            place = StreamPlace(last.tick, last.row.place, last.events)
        elif newest.tick:
            place = StreamPlace(place.tick + 1)
        else:  # more may have been told since `newest` was read
            place = max(newest, StreamPlace(0, rows[-1].place + 1)) if rows else newest
    faces: Mapping[str, FaceRow] = {}
    details: Mapping[tuple[str, int], str | None] = {}
    if blocks:
        asked = [block for block in blocks if names is None or block.row.name in names]
        faces = yield from _faces(asked)
        details = yield from _details(asked)
        [state] = yield from STREAM_STATE()
    after_mark = 0 if newest.tick else (yield from _mark_of(place))
    return NextBlocks(state, blocks, place, after_mark, is_last, is_other, faces, details)


# ── retention ────────────────────────────────────────────────────────────────────────────────────────


@creating_no_work
@operation
def forget_told(keep: int) -> QuerySteps[int]:
    """Forget what was told more than `keep` microseconds ago; return how many rows left, of a thousand at most."""
    before = (yield from now()) - keep
    [(gone,)] = yield from FORGET_TOLD(before=before, limit=FORGOTTEN_AT_ONCE)
    return gone


@creating_no_work
@operation
def forget_watchers(reader_seconds: float) -> QuerySteps[Sequence[str]]:
    """Forget watchers whose process died, and durable readers that no code moved for so many seconds."""
    gone = yield from FORGET_WATCHERS()
    before = (yield from now()) - round(reader_seconds * SECOND)
    yield query("forget_readers", before=before)
    return [name for (name,) in gone]


# ── private ──────────────────────────────────────────────────────────────────────────────────────────


def _mark_of(place: StreamPlace) -> QuerySteps[int]:
    """Return when the row before a place was told; 0 if it is gone, or where there are ticks."""
    rows = yield from MARK_OF_PLACE(place=place.place if place.skip else place.place - 1)
    return rows[0][0] if rows else 0


def _faces(blocks: Iterable[Block]) -> QuerySteps[dict[str, FaceRow]]:
    jobs = dict.fromkeys(job for block in blocks for job in block.jobs[block.skip :])
    if not jobs:
        return {}
    return {row.id: row for row in (yield from FACES([(job,) for job in jobs]))}


def _details(blocks: Iterable[Block]) -> QuerySteps[dict[tuple[str, int], str | None]]:
    asked = [(block.jobs[0], block.row.version) for block in blocks if block.row.version is not None]
    if not asked:
        return {}
    return {(job, version): detail for job, version, detail in (yield from DETAILS(asked))}
