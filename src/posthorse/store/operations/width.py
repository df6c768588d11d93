"""The width of a job that was cut: how many of its parts may run at once, changed while it runs.

A part that has no room waits in `parked`, blocked, until another one leaves. An operation that lets parts go on has
locked the join of their parent. A part looks for room before it begins, and so do those that come back from a pause
or a retry.
"""

from __future__ import annotations

from typing import NamedTuple

from posthorse import ids
from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.joins import WAITS_FOR_ROOM, Join
from posthorse.store.base import QuerySteps, TypedQuery, locking_first, operation, query, query_rows, single_operation
from posthorse.store.operations.one_job import LOCK_JOB, missing
from posthorse.store.operations.stored_parts import parts_stored
from posthorse.store.operations.waiting import LOCK_JOBS, NOTHING, WAITING_AMONG, count, lock_family

AT_ONCE = 100
"""Families that one transaction of the sweep looks at."""


class PartAtWork(NamedTuple):
    """A part that is neither over nor paused. is_held: it waits for room."""

    job: str
    is_held: int
    is_running: int


PARTS_AT_WORK = TypedQuery("parts_at_work", PartAtWork)
IS_CROWDED = TypedQuery("is_crowded", tuple[int])
NARROW_FAMILIES = TypedQuery("narrow_families", tuple[str])


@single_operation
def is_crowded(part: str) -> QuerySteps[bool]:
    """Return whether as many other parts of its job as may run at once hold a lease now."""
    return bool((yield from IS_CROWDED(job=part)))


@operation
def set_width(job: str, width: int | None, *, may_be_cut: bool) -> QuerySteps[None]:
    """Set how many parts of a job may run at once; None for no limit. Parts go on, or leave at their next checkpoint.

    may_be_cut: whether it has `shards=`, so that it is cut once it runs. Raises JobNotFound, InvalidTransition.
    """
    own = (yield from lock_family(job)).own
    locked = yield from LOCK_JOB(job=job)
    if not locked:
        raise (yield from missing(job))
    state = State(locked[0].state)
    if state.is_final:
        raise InvalidTransition(f"job {job} is {state.value}, so no parts of it run; retry it first")
    if not may_be_cut and (own is None or not (yield from is_cut(own))):
        raise InvalidTransition(f"job {job} is not cut into parts; give it shards= when it is enqueued")
    yield query("set_width", job=job, width=width)
    joins = yield from count({job: NOTHING})
    parts = yield from make_room(joins[job])
    if width is not None:
        running = [part.job for part in parts if part.is_running]
        for part in running[width:]:
            yield query("ask_to_leave", job=part)


def is_cut(join: Join) -> QuerySteps[bool]:
    """Return whether a job was cut into parts. Others also run again after children that they added."""
    return join.runs_again and bool((yield from parts_stored(join.job, limit=1)))


@locking_first
@operation
def make_rooms(after: str | None = None) -> QuerySteps[str | None]:
    """Let parts go on for which there is room again, because others were paused, wait for their time, or vanished.

    It does so for some jobs after a given one; it returns the last of these, None if no more come after it.
    """
    families = yield from NARROW_FAMILIES(after=after or ids.first_of(0), limit=AT_ONCE)
    joins = yield from count({job: NOTHING for (job,) in families})
    for join in joins.values():
        yield from make_room(join)
    return families[-1][0] if len(families) == AT_ONCE else None


def make_room_after_resume(job: str) -> QuerySteps[None]:
    """Line up parts of a resumed job that were held while it was paused, also if it has no width any more."""
    joins = yield from count({job: NOTHING})
    for join in joins.values():
        if (yield from is_cut(join)):
            yield from make_room(join)


def make_room(join: Join) -> QuerySteps[list[PartAtWork]]:
    """Line up parts that wait for room, as many as there is room for; return all that were at work before.

    The caller has locked the join of their parent.
    """
    parts = yield from PARTS_AT_WORK(parent=join.job, reason=WAITS_FOR_ROOM)
    held = [(part.job,) for part in parts if part.is_held]
    if join.asked in ("pause", "cancel") or not held:
        return parts
    room = len(held) if join.width is None else max(0, join.width - (len(parts) - len(held)))
    if chosen := held[:room]:
        yield from LOCK_JOBS(chosen)
        waiting = sorted((yield from WAITING_AMONG(chosen)))
        yield query_rows("line_up_waiting", waiting)
    return parts
