"""Durable readers of the stream that hand over events as jobs: the place moves, and the jobs enter, in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posthorse.rules.job import Lane, NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queue_depth import Gauge
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query
from posthorse.store.operations.submit import NO_GAUGES, NONE_CLOSED, enqueue

PLACE_OF_READER = TypedQuery("place_of_reader", tuple[str])
MOVE_READER = TypedQuery("move_reader", tuple[str])


@operation
def places_of(readers: Sequence[str]) -> QuerySteps[dict[str, str]]:
    """Return the cursors of durable readers that are known."""
    found: dict[str, str] = {}
    for name in readers:
        for (place,) in (yield from PLACE_OF_READER(name=name)):
            found[name] = place
    return found


@creating_no_work
@operation
def enter_reader(name: str, cursor: str) -> QuerySteps[None]:
    """Enter a durable reader at a place, unless it is known."""
    yield query("enter_reader", name=name, place=cursor)


@operation
def hand_over(
    reader: str,
    known: str,
    place: str,
    jobs: Sequence[NewJob],
    *,
    lanes: Mapping[Lane, int],
    gauges: Mapping[str, Gauge] = NO_GAUGES,
    closed: frozenset[str] = NONE_CLOSED,
    packing: Packing = PLAIN,
    told: Kinds = NO_KINDS,
) -> QuerySteps[bool]:
    """Move a reader from a place that it was known to be at, and enqueue what its events became.

    False if another process moved it meanwhile, or this very call did and its reply was lost: then nothing is done.
    Raises QueueClosed or QueueFull if the queue refuses the jobs; then nothing counts as handed over.
    """
    if not (yield from MOVE_READER(name=reader, place=place, known=known)):
        return False
    if jobs:
        yield from enqueue(jobs, lanes, gauges=gauges, closed=closed, packing=packing, told=told).start()
    return True
