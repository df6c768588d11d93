"""Lanes: their numbers, and the columns that describe them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.rules.job import Lane
from posthorse.store.base import QuerySteps, TypedQuery, operation

LaneColumns = tuple[str, str, int, int, str, int]
"""Queue, kind, priority, solo, tenant and keyed."""

FIND_LANE = TypedQuery("find_lane", tuple[int])
MAKE_LANE = TypedQuery("make_lane", tuple[int])


@operation
def lane_ids(lanes: Sequence[Lane]) -> QuerySteps[dict[Lane, int]]:
    """Return the numbers of lanes; create missing ones. A commit of its own: a lane is never removed."""
    numbers: dict[Lane, int] = {}
    for lane in lanes:
        numbers[lane] = yield from lane_id(lane)
    return numbers


def lane_id(lane: Lane) -> QuerySteps[int]:
    """Return the number of one lane, as a part of other operations."""
    values = msgspec.structs.asdict(lane)
    found = yield from FIND_LANE(**values)
    if not found:
        found = yield from MAKE_LANE(**values)
    return found[0][0]


def lane_of(queue: str, kind: str, priority: int, solo: int, tenant: str, keyed: int) -> Lane:
    """Make a lane of its columns."""
    return Lane(queue, kind, priority, bool(solo), tenant, bool(keyed))


def home_of(queue: str, kind: str, priority: int, _solo: int, tenant: str, keyed: int) -> Lane:
    """Make the lane that a job has when it is not a suspect."""
    return Lane(queue, kind, priority, False, tenant, bool(keyed))
