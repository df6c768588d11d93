"""A store whose clock was set back: what began by the faster clock begins now, so that it does not last longer.

A moment that was written as "now" but is in the future shows by how much. Each part may run again at any time, because
what it moved is no longer in the future. Moments that users named (`run_at`, the times of a schedule) stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.store.base import (
    Operation,
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
)

TOLERANCE = 1_000_000
"""Microseconds in the future that do not count as a step of the clock."""

AT_ONCE = 500
PAGE = 2_000
"""How many ready jobs one commit looks at."""

LanePosition = tuple[int, int]
"""A lane, and a position in it."""

FIRST: LanePosition = (0, 0)

IS_SET_BACK = TypedQuery("is_set_back", tuple[int | None])
WAITS_BEGUN_LATER = TypedQuery("waits_begun_later", tuple[str, int, int])
KEYS_TAKEN_LATER = TypedQuery("keys_taken_later", tuple[str, str, str, str, int])
LINED_UP_PAGE = TypedQuery("lined_up_page", tuple[int, int, str, int])


@single_operation
def is_set_back(now: int) -> QuerySteps[bool]:
    """Return whether something happened at a moment that is in the future."""
    [(is_ahead,)] = yield from IS_SET_BACK(moment=now, tolerance=TOLERANCE)
    return bool(is_ahead)


@operation
def move_waits(now: int) -> QuerySteps[bool]:
    """Shorten retries, snoozes and delays to their original length; return True if there may be more of them."""
    rows = yield from WAITS_BEGUN_LATER(moment=now, tolerance=TOLERANCE, limit=AT_ONCE)
    if rows:
        moved = [(job, ahead, ahead if is_span else 0) for job, ahead, is_span in rows]
        yield query_rows("move_waits", sorted(moved), moment=now)
    return len(rows) == AT_ONCE


@operation
def move_keys(now: int) -> QuerySteps[bool]:
    """Shorten keys and windows of uniqueness to their original length; return True if there may be more of them."""
    rows = yield from KEYS_TAKEN_LATER(moment=now, tolerance=TOLERANCE, limit=AT_ONCE)
    if rows:
        yield query_rows("move_keys", sorted(rows), moment=now)
    return len(rows) == AT_ONCE


@operation
def move_lined_up(now: int, after: LanePosition = FIRST) -> QuerySteps[LanePosition | None]:
    """Let ready jobs count as waiting since now, which matters for `expires`; return the last position, None at the
    end.
    """
    lane, seq = after
    page = yield from LINED_UP_PAGE(moment=now, tolerance=TOLERANCE, lane=lane, seq=seq, limit=PAGE)
    late = sorted((row[:3] for row in page if row[3]), key=lambda row: row[2])
    if late:
        yield query_rows("move_lined_up", late, moment=now)
    return max(row[:2] for row in page) if len(page) == PAGE else None


@creating_no_work
@operation
def move_runs(now: int) -> QuerySteps[bool]:
    """Move checkpoints, heartbeats and stocks out of the future, so that attempts count, leases of dead runners end,
    and results do not become stale later than they should.
    """
    yield query("move_beats", moment=now, tolerance=TOLERANCE)
    yield query("move_checkpoints", moment=now, tolerance=TOLERANCE)
    yield query("move_stocked", moment=now, tolerance=TOLERANCE)
    return False


def after_set_back(now: int) -> Sequence[Operation[bool]]:
    """Return what must run before `move_lined_up`, each part until it returns False; `now` is the store's clock."""
    # Keys first: the distance follows from when their jobs were created, which the others move.
    return (move_runs(now), move_keys(now), move_waits(now))
