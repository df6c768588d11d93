"""Queues: their live settings, how deep they are, and which runners serve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import monotonic
from posthorse.errors import QueueClosed, QueueFull
from posthorse.rules.job import NewJob, State
from posthorse.rules.queue_depth import Gauge
from posthorse.rules.queues import Layer, layer_as_words, layer_from_words
from posthorse.rules.store_events import QueueChange
from posthorse.store.base import QuerySteps, TypedQuery, operation, query, single_operation
from posthorse.store.operations.limits import held_in_queues
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.telling import tell_of_store

MIN_RETRY, MAX_RETRY = 1.0, 3600.0

QUEUE_SETTINGS = TypedQuery("queue_settings", tuple[str, str])
SETTINGS_OF_QUEUE = TypedQuery("settings_of_queue", tuple[str])
QUEUE_DEPTHS = TypedQuery("queue_depths", tuple[str, int, int | None])
QUEUE_LEASES = TypedQuery("queue_leases", tuple[str, int])
QUEUE_PARKED = TypedQuery("queue_parked", tuple[str, str, int])
SERVERS = TypedQuery("servers", tuple[str, str, str])
DEPTH = TypedQuery("depth", tuple[int])
LONGEST_WAIT = TypedQuery("longest_wait", tuple[int | None])

_decode_words = msgspec.json.Decoder(dict[str, object]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


class QueueRow(NamedTuple):
    """The state of a queue; `waited` is how long its oldest waiting job has waited, in microseconds."""

    queue: str
    waiting: int
    waited: int | None
    running: int
    aside: Mapping[State, int]


class QueueServer(NamedTuple):
    """A living runner, with what it serves: these queues, or all that its labels fit."""

    worker: str
    queues: Sequence[str]
    labels: Sequence[str]


class QueuesRead(NamedTuple):
    """All queues, as they are shown; `now` is in microseconds on the store's clock."""

    now: int
    live: Mapping[str, Layer]
    servers: Sequence[QueueServer]
    rows: Sequence[QueueRow]
    held: Mapping[str, Mapping[str, int]]
    """By queue, how many jobs each limit holds back."""


@single_operation
def live_layers() -> QuerySteps[dict[str, dict[str, object]]]:
    """Return the live settings of each queue."""
    return {name: layer_from_words(_decode_words(words)) for name, words in (yield from QUEUE_SETTINGS())}


@operation
def change_queue(name: str, changes: Layer) -> QuerySteps[None]:
    """Change live settings of a queue; settings that are not named stay."""
    words = layer_as_words(changes)
    yield query("count_change")
    before = yield from SETTINGS_OF_QUEUE(name=name)
    # Settings of a newer version stay unchanged.
    said = {**(_decode_words(before[0][0]) if before else {}), **words}
    yield query("set_queue", name=name, settings=msgspec.json.encode(said).decode())
    yield from tell_of_store("queue_changed", QueueChange(queue=name, settings=words))
    yield query("wake")


@operation
def reset_queue(name: str, only: Sequence[str]) -> QuerySteps[None]:
    """Remove live settings of a queue: all of them, or the named ones."""
    yield query("count_change")
    before = yield from SETTINGS_OF_QUEUE(name=name)
    said = _decode_words(before[0][0]) if before else {}
    kept = {word: value for word, value in said.items() if only and word not in only}
    if kept:
        yield query("set_queue", name=name, settings=msgspec.json.encode(kept).decode())
    else:
        yield query("reset_queue", name=name)
    if removed := {word: None for word in said if word not in kept}:
        yield from tell_of_store("queue_changed", QueueChange(queue=name, settings=removed))
    yield query("wake")


@operation
def queue_rows() -> QuerySteps[list[QueueRow]]:
    """Return every queue that ever had a job. Counts waiting and parked jobs, which is too slow for a hot path."""
    depths = yield from QUEUE_DEPTHS()
    running = dict((yield from QUEUE_LEASES()))
    aside: dict[str, dict[State, int]] = {}
    for queue, state, count in (yield from QUEUE_PARKED()):
        aside.setdefault(queue, {})[State(state)] = count
    return [
        QueueRow(queue, waiting, waited, running.get(queue, 0), aside.get(queue, {}))
        for queue, waiting, waited in depths
    ]


@single_operation
def servers() -> QuerySteps[list[QueueServer]]:
    """Return the living runners."""
    rows = yield from SERVERS()
    return [QueueServer(worker, _decode_names(queues), _decode_names(labels)) for worker, queues, labels in rows]


@operation
def read_queues(limits: int) -> QuerySteps[QueuesRead]:
    """Read what is shown of all queues; at most so many limits for each queue. For people, not for a hot path."""
    moment = yield from now()
    live = yield from live_layers().start()
    serving = yield from servers().start()
    rows = yield from queue_rows().start()
    held: dict[str, dict[str, int]] = {}
    for queue, limit, count in (yield from held_in_queues(limits * max(1, len(rows))).start()):
        held.setdefault(queue, {})[limit] = count
    return QueuesRead(moment, live, serving, rows, held)


def check_open(jobs: Sequence[NewJob], closed: frozenset[str]) -> None:
    """Raise QueueClosed if a queue accepts no new jobs; a part of submitting."""
    refusing = next((job.lane.queue for job in jobs if job.lane.queue in closed), None)
    if refusing is not None:
        raise QueueClosed(refusing)


def check_room(jobs: Sequence[NewJob], gauges: Mapping[str, Gauge]) -> QuerySteps[None]:
    """Raise QueueFull if a queue has no room for the jobs; a part of submitting.

    Scheduled jobs wait for their time and not in the queue's lanes. Enqueuing one at a time meets the limit exactly. On
    PostgreSQL, processes that enqueue single jobs at the same moment may exceed it by one each.
    """
    wanted: dict[str, int] = {}
    for job in jobs:
        if job.lane.queue in gauges and job.run_at is None and not job.delay:
            wanted[job.lane.queue] = wanted.get(job.lane.queue, 0) + 1
    for queue in sorted(wanted):  # one order prevents deadlock
        count, gauge = wanted[queue], gauges[queue]
        began = monotonic()
        if gauge.has_room(count, began):
            continue
        if (full := gauge.depth_if_full(count, began)) is not None:
            raise (yield from _full(queue, full, count, gauge.max_depth))
        if count > 1:
            yield query("hold_queue", queue=queue)
        began = monotonic()
        [(depth,)] = yield from DEPTH(queue=queue, limit=gauge.max_depth)
        ended = monotonic()
        # Kept outside the operation: a hint for later ones, which is harmless if this one runs again.
        gauge.note(depth, now=ended, seconds=ended - began)
        if depth + count > gauge.max_depth:
            raise (yield from _full(queue, depth, count, gauge.max_depth))


def _full(queue: str, depth: int, wanted: int, max_depth: int) -> QuerySteps[QueueFull]:
    """Make the error. By Little's law a queue of `depth` jobs that wait for w seconds serves depth / w a second."""
    [(longest,)] = yield from LONGEST_WAIT(queue=queue)
    waited = (longest or 0) / 1_000_000
    excess = depth + wanted - max_depth
    retry_after = waited * excess / depth if depth else 0.0
    return QueueFull(
        queue,
        depth=depth,
        max_depth=max_depth,
        wanted=wanted,
        retry_after=min(MAX_RETRY, max(MIN_RETRY, retry_after)),
    )
