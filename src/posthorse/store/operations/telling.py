"""Telling the stream what happened, and who watches it. While nothing watches, nothing is written to it.

What one commit did to several jobs is one row, a *block*. Rare events of single jobs tell of themselves where they are
recorded, in the same statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import SECOND, monotonic
from posthorse.rules.queues import Layer, layer_from_words
from posthorse.rules.store_events import Loss, QueueChange, SteeredSchedule, StoreEventName
from posthorse.rules.watched import Interest, Watched, encode_interest
from posthorse.store.base import (
    BoundQuery,
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
    unrepeatable_operation,
)

LIFE = "stream"
"""The fact about the store that names the life of its stream: places of another life mean nothing."""

MAX_BLOCK = 1_000
"""Jobs in one row: readers hold a few rows in memory."""

MAX_TICK = 1_000
"""Rows of one tick, but for those of one more transaction: after a long time without a reader there are several."""

QUEUES_AND_WATCHERS = TypedQuery("queues_and_watchers", tuple[str, str, str, int | None])
UNWATCH = TypedQuery("unwatch", tuple[str])
WANTED_BY = TypedQuery("wanted_by", tuple[str])

_decode_words = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode


class QueuesAndWatchers(NamedTuple):
    """The live settings of queues, and the watchers: what each wants, and for how many microseconds."""

    layers: Mapping[str, Layer]
    watchers: Sequence[tuple[str, int]]


class Told(NamedTuple):
    """What a commit that completes jobs tells the stream: of which starts, and of which ends. The values are the
    numbers of the attempts.
    """

    started: Mapping[str, int] = {}
    completed: Mapping[str, int] = {}


NOTHING = Told()


@single_operation
def queues_and_watchers() -> QuerySteps[QueuesAndWatchers]:
    """Read what each process must hear of within a second."""
    layers: dict[str, Layer] = {}
    watchers: list[tuple[str, int]] = []
    for what, name, words, left in (yield from QUEUES_AND_WATCHERS()):
        if what == "queue":
            layers[name] = layer_from_words(_decode_words(words))
        elif left is not None:
            watchers.append((words, left))
    return QueuesAndWatchers(layers, watchers)


def learn(watched: Watched, heard: QueuesAndWatchers, changes: int | None = None) -> None:
    """Let a process know who watches."""
    watched.learn(heard.watchers, monotonic())
    watched.changes = changes


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────


@operation
def watch(name: str, wanted: Interest, life: str, *, seconds: float) -> QuerySteps[bool]:
    """Watch the stream for so many seconds, or go on watching; return whether the watch of that name still held.

    `life` names the stream if it never had a watcher. From this commit on rare events are told, and all events a second
    later. The first tick comes before all of them.
    """
    words = encode_interest(wanted)
    known = yield from WANTED_BY(name=name)
    if known != [(words,)]:
        yield query("count_change")
        yield query("set_new_fact", name=LIFE, value=life)
        yield query("tick", limit=MAX_TICK)
        yield query("watch", name=name, wanted=words, span=round(seconds * SECOND))
        yield query("wake")
    else:
        yield query("watch", name=name, wanted=words, span=round(seconds * SECOND))
    return bool(known)


@creating_no_work
@operation
def unwatch(name: str) -> QuerySteps[None]:
    """Watch no longer."""
    yield query("count_change")
    yield from UNWATCH(name=name)


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────


def tell(name: str, jobs: Iterable[tuple[str, int]]) -> Iterator[BoundQuery]:
    """Tell what happened to jobs, each with the number of its attempt; a part of other operations."""
    for attempt, ids in _by_attempt(jobs).items():
        for begin in range(0, len(ids), MAX_BLOCK):
            yield query("tell", name=name, attempt=attempt, jobs=_encode(ids[begin : begin + MAX_BLOCK]).decode())


def tell_submitted(jobs: Sequence[str], moment: int) -> Iterator[BoundQuery]:
    """Tell of jobs that were enqueued at this moment of the store's clock; a part of submitting."""
    for begin in range(0, len(jobs), MAX_BLOCK):
        yield query_rows("tell_submitted", [(job,) for job in jobs[begin : begin + MAX_BLOCK]], moment=moment)


def tell_of_store(name: StoreEventName, detail: QueueChange | SteeredSchedule | Loss) -> Iterator[BoundQuery]:
    """Tell what concerns no job, if a reader watches; a part of the operation that does it."""
    yield query("tell_of_store", name=name, detail=_encode(detail).decode())


@creating_no_work
@unrepeatable_operation
def tell_started(runner: str, jobs: Sequence[tuple[str, int]]) -> QuerySteps[None]:
    """Tell of attempts of a runner that began, each with its number.

    After a lost reply it does not run again, because it could not see what its first commit did.
    """
    for attempt, ids in _by_attempt(jobs).items():
        for begin in range(0, len(ids), MAX_BLOCK):
            block = _encode(ids[begin : begin + MAX_BLOCK]).decode()
            yield query("tell_started", runner=runner, attempt=attempt, jobs=block)


def _by_attempt(jobs: Iterable[tuple[str, int]]) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    for job, attempt in jobs:
        found.setdefault(attempt, []).append(job)
    return found
