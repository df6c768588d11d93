"""A store whose clock was set back: what began under the clock that was ahead begins now, so that it lasts no longer.

A moment that was written as "now", and is still to come, tells by how much. Each part may be run again at any time:
what it moved lies in the future no more. What users named as a moment (`run_at`, the times of a schedule) stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from posthorse.store.base import Operation, QuerySteps, creating_no_work, operation, query, query_rows, single_operation

TOLERANCE = 1_000_000
"""Microseconds in the future that are no step of a clock."""

AT_ONCE = 500
PAGE = 2_000
"""How many jobs that are lined up are looked at in one commit."""

LanePosition = tuple[int, int]
"""A lane, and a place in it."""

FIRST: LanePosition = (0, 0)


@single_operation
def is_set_back(now: int) -> QuerySteps[bool]:
    """True when something happened at a moment that is still to come."""
    return bool((yield query("is_set_back", moment=now, tolerance=TOLERANCE))[0][0])


@operation
def move_waits(now: int) -> QuerySteps[bool]:
    """Retries, snoozes and delays wait no longer than they would have; true when there may be more of them."""
    rows = yield query("waits_begun_later", moment=now, tolerance=TOLERANCE, limit=AT_ONCE)
    if rows:
        moved = [(job, ahead, ahead if is_span else 0) for job, ahead, is_span in rows]
        yield query_rows("move_waits", sorted(moved, key=lambda row: cast("str", row[0])), moment=now)
    return len(rows) == AT_ONCE


@operation
def move_keys(now: int) -> QuerySteps[bool]:
    """Keys and windows of uniqueness count no longer than they would have; true when there may be more of them."""
    rows = yield query("keys_taken_later", moment=now, tolerance=TOLERANCE, limit=AT_ONCE)
    if rows:
        yield query_rows("move_keys", sorted(rows, key=lambda row: cast("tuple[str, ...]", row[:3])), moment=now)
    return len(rows) == AT_ONCE


@operation
def move_lined_up(now: int, after: LanePosition = FIRST) -> QuerySteps[LanePosition | None]:
    """Jobs that are lined up have waited since now, as far as `expires` is concerned; the place that this came to, None
    at the end."""
    lane, seq = after
    page = yield query("lined_up_page", moment=now, tolerance=TOLERANCE, lane=lane, seq=seq, limit=PAGE)
    late = sorted((row[:3] for row in page if row[3]), key=lambda row: cast("str", row[2]))
    if late:
        yield query_rows("move_lined_up", late, moment=now)
    return max(cast("LanePosition", row[:2]) for row in page) if len(page) == PAGE else None


@creating_no_work
@operation
def move_runs(now: int) -> QuerySteps[bool]:
    """Checkpoints and heartbeats lie in the future no more: attempts are counted, leases of the dead run out."""
    yield query("move_beats", moment=now, tolerance=TOLERANCE)
    yield query("move_checkpoints", moment=now, tolerance=TOLERANCE)
    return False


def after_set_back(now: int) -> Sequence[Operation[bool]]:
    """What is to be done before `move_lined_up`, each part until it returns False; `now` is the store's clock."""
    # Keys first: by how much they are moved is known from when their jobs were created, and the others move that.
    return (move_runs(now), move_keys(now), move_waits(now))
