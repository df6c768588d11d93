"""Finding jobs: the statement of each way, with the conditions that its jobs must meet. Times are microseconds.

One look gives the next few jobs of a way and judges them. How often and how far the caller looks is its own matter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, cast

from posthorse.clock import microseconds
from posthorse.rules.job import State
from posthorse.rules.search.filter import Filter, Term
from posthorse.rules.search.page_cursor import Position
from posthorse.rules.search.ways import (
    BY_ID,
    BY_PARKING,
    FIRST_ID,
    LAST_ID,
    MAX_LANES,
    IdRange,
    Plan,
    Way,
    by_parking,
    by_time,
    edge,
    fits_lane,
    is_lower_end,
    plan,
    range_of,
)
from posthorse.rules.search.words import How, Item
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query, single_operation
from posthorse.store.operations.store_facts import FACT
from posthorse.store.operations.store_facts import now as store_now
from posthorse.store.queries import Row, Value

_LAST_MOMENT = (1 << 63) - 1
_STATEMENTS: dict[Way, str] = {
    Way.ID: "by_ids",
    Way.RUNNING: "by_lease",
    Way.READY: "by_line",
    Way.PARKED: "by_parking",
    Way.DEAD: "by_dead",
    Way.CAUSE: "by_cause",
    Way.LANE: "by_lane",
    Way.TENANT: "by_tenant",
    Way.TIME: "by_range",
    Way.SEARCH: "by_range",
}
_WITHOUT_LEASE = (State.COMPLETED, State.CANCELLED)
"""States that a row has only if no runner holds the job."""
_MERGED = frozenset({Way.READY, Way.DEAD, Way.CAUSE, Way.LANE, Way.TENANT})
"""Ways that merge several lines of jobs, each of which is looked at for a share."""


class FoundRow(NamedTuple):
    """A matching job with its place on the way, if there was one, and what the look saw altogether."""

    job: str | None
    at: int | None
    last: str | None
    last_at: int | None
    looked_at: int


class CountedRow(NamedTuple):
    """How many jobs match, and what the look saw altogether."""

    matching: int
    last: str | None
    last_at: int | None
    looked_at: int


ALL_LANES = TypedQuery("all_lanes", tuple[int, str, str, int])


class Route(NamedTuple):
    """A plan with what the store says about it: its lanes, and the range of ids at that moment."""

    plan: Plan
    lanes: Sequence[int]
    range: IdRange
    now: int


class Look(NamedTuple):
    """The jobs of a look that match, in the order of the way.

    last: the last job that was looked at, if there was one. looked_at: how many were.
    is_end: the way has no more jobs.
    """

    found: Sequence[Position]
    last: Position | None
    looked_at: int
    is_end: bool


class PartCount(NamedTuple):
    """How many jobs of a look match; the other fields are those of `Look`."""

    matching: int
    last: Position | None
    looked_at: int
    is_end: bool


@operation
def route(wanted: Filter) -> QuerySteps[Route]:
    """Find out what the way of a filter needs. It holds for as long as the caller looks."""
    found = plan(wanted)
    lanes: list[int] = []
    if found.way in (Way.LANE, Way.READY, Way.DEAD):
        for lane, queue, kind, priority in (yield from ALL_LANES()):
            if fits_lane(found.lane_terms, queue=queue, kind=kind, priority=priority):
                lanes.append(lane)
        if found.way is not Way.READY and len(lanes) > MAX_LANES:
            found = by_time(wanted) if found.state is None else by_parking(wanted, found.state)
            lanes = []
    now = yield from store_now()
    return Route(found, lanes, range_of(found.range_terms, now), now)


@single_operation
def look(on: Route, *, after: Position | None, window: int, limit: int, oldest_first: bool = False) -> QuerySteps[Look]:
    """Look at the next jobs of a way, `window` at most; return those that match, `limit` at most."""
    share = _share(on, window, 0 if on.plan.rest else limit)
    name, values = _composed("jobs_found", on, after, window, share, oldest_first=oldest_first)
    rows = yield from TypedQuery(name, FoundRow)(_rows(on), limit=limit, **values)
    found = [_position(on, row.job, row.at, oldest_first) for row in rows]
    last, looked_at = _position(on, rows[0].last, rows[0].last_at, oldest_first), rows[0].looked_at
    return Look([place for place in found if place], last, looked_at, looked_at <= share)


@single_operation
def tally(on: Route, *, after: Position | None, window: int) -> QuerySteps[PartCount]:
    """Count the matching ones of the next jobs of a way, `window` at most."""
    share = _share(on, window, 0)
    name, values = _composed("jobs_counted", on, after, window, share, oldest_first=False)
    [row] = yield from TypedQuery(name, CountedRow)(_rows(on), **values)
    last = _position(on, row.last, row.last_at, oldest_first=False)
    return PartCount(row.matching, last, row.looked_at, row.looked_at <= share)


@operation
def newest_ids(within: IdRange, limit: int) -> QuerySteps[list[str]]:
    """Return the ids of the newest jobs in a range of ids, newest first."""
    on = Route(Plan(Way.TIME), (), within, 0)
    found = yield from look(on, after=None, window=limit + 1, limit=limit).start()
    return [place.job for place in found.found]


@single_operation
def cursor_key() -> QuerySteps[str | None]:
    """Return the key that signs the cursors of this store, in hexadecimal; None if there is none yet."""
    rows = yield from FACT(name="cursor_key")
    return rows[0][0] if rows else None


@creating_no_work
@operation
def make_cursor_key(key: str) -> QuerySteps[str]:
    """Store a key, unless another process just did; return the one that is stored."""
    yield query("set_new_fact", name="cursor_key", value=key)
    [(stored,)] = yield from FACT(name="cursor_key")
    return stored


def _share(on: Route, window: int, wanted: int) -> int:
    """Return how many jobs of each line are looked at. If no line has more, these are all.

    All lines together are looked at for twice the window, because a look gives what lies before the first line's end.
    If so many jobs are `wanted` and all match, each line is looked at for these, so that one look gives them.
    """
    lines = len(on.lanes) or len(on.plan.tenants) or len(on.plan.causes)
    if on.plan.way not in _MERGED or lines < 2:
        return window - 1
    return max(1, min(window - 1, max(wanted, 2 * window // lines)))


def _composed(
    frame: str, on: Route, after: Position | None, window: int, share: int, *, oldest_first: bool
) -> tuple[str, dict[str, Value]]:
    """Return the name of a composed statement, and its values."""
    name = [frame, _STATEMENTS[on.plan.way], "oldest" if oldest_first else "newest"]
    near = on.range.after if oldest_first else on.range.before
    values: dict[str, Value] = {
        "near": near if after is None else after.job,
        "far": on.range.last(oldest_first=oldest_first),
        "window": window,
        "share": share,
    }
    if on.plan.way not in BY_ID and on.plan.way is not Way.ID:
        last = on.now if on.plan.way in BY_PARKING else _LAST_MOMENT
        first, last = (-1, last) if oldest_first else (_LAST_MOMENT, 0)
        values |= {
            "near_at": first if after is None else after.at,
            "far_at": last,
            "state": on.plan.state and on.plan.state.value,
        }
        if after is None:
            values["near"] = FIRST_ID if oldest_first else LAST_ID
    number = 0
    for term in on.plan.rest:
        parts: list[str] = []
        for item in term.items:
            part, value = _judged(term, item, on.now)
            parts.append(part)
            values[f"value_{number}"] = value
            if term.path:
                path = f"metadata.{term.path}" if term.word == "meta" else term.path
                values |= {f"path_{number}": path, f"keys_{number}": _keys(path)}
            number += 1
        name.append(f"{'-' * term.is_not}{'|'.join(parts)}")
    return " ".join(name), values


def _rows(on: Route) -> Sequence[Row] | None:
    match on.plan.way:
        case Way.ID:
            return [(job,) for job in on.plan.ids]
        case Way.LANE | Way.READY | Way.DEAD:
            return [(lane,) for lane in on.lanes]
        case Way.TENANT:
            return [(tenant,) for tenant in on.plan.tenants]
        case Way.CAUSE:
            return [(cause,) for cause in on.plan.causes]
        case _:
            return None


def _judged(term: Term, item: Item, now: int) -> tuple[str, Value]:
    """Return the condition of one value of a term, and its parameter."""
    value = item.value
    comparison = {How.IS: "is", How.BEGINS: "begins", How.ABOVE: "above", How.BELOW: "below"}[item.how]
    match term.word:
        case "id" | "parent":
            return f"{term.word}_part", cast("str", value)
        case "state":
            state = State(cast("str", value))
            if state is State.PROCESSING:
                return "state_is_processing", None
            return "state_is_over" if state in _WITHOUT_LEASE else "state_is", state.value
        case "since" | "until" | "age":
            is_lower = is_lower_end(term, item)
            return "enqueued_after" if is_lower else "enqueued_before", edge(item, now, is_lower=is_lower)
        case "older" | "newer":
            return term.word, microseconds(cast("timedelta", value))
        case "took" | "waited":
            return f"{term.word}_{comparison}", microseconds(cast("timedelta", value))
        case "tag":
            quoted = json.dumps(value, ensure_ascii=False)
            return "tag_is", quoted[:-1] if item.how is How.BEGINS else quoted
        case "reason":
            return "reason_begins", cast("str", value).replace("-", " ").lower()
        case "args":
            return f"argument_{comparison}", str(value)
        case "meta":
            return f"metadata_{comparison}", str(value)
        case _:
            return f"{term.word}_{comparison}", cast("str | int", value)


def _keys(path: str) -> str:
    """Return a path as SQLite writes it; a number is a place in a list."""
    return "$" + "".join(f"[{key}]" if key.isdecimal() else f'."{key}"' for key in path.split("."))


def _position(on: Route, job: str | None, at: int | None, oldest_first: bool) -> Position | None:
    """Return a position on the way; None if the look had no job."""
    return None if job is None or at is None else Position(on.plan.way, str(job), at, oldest_first)
