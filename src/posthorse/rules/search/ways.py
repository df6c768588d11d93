"""How the jobs of a filter are found: the way, which is as good as the filter allows, and the rest to be judged.

A way gives jobs in one order without reading others. Everything that it does not guarantee is judged on the jobs that
it gives. The store has a statement for each way; this module knows none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast
from uuid import UUID

import msgspec

from posthorse import ids
from posthorse.clock import micros_of, microseconds
from posthorse.rules.job import State
from posthorse.rules.search.filter import Filter, Term
from posthorse.rules.search.words import How, Item

FIRST_ID = "00000000-0000-0000-0000-000000000000"
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
MAX_LANES = 1_000
"""From more lanes than this, finding the newest costs more than a search. So many exist where tenants take turns."""

MAX_MILLISECONDS = (1 << 48) - 1


class Way(StrEnum):
    """How jobs are found."""

    ID = "id"
    """By whole ids."""
    RUNNING = "running"
    """Among the leases."""
    READY = "ready"
    """Among the jobs that may run now, the last in line first."""
    PARKED = "parked"
    """Among the jobs that are parked in one state, the latest first: of dead letters, the newest death."""
    DEAD = "dead"
    """Among the dead letters in the lanes of queues, kinds and priorities, the newest death first."""
    CAUSE = "cause"
    """Among the dead letters of groups of errors."""
    LANE = "lane"
    """In the lanes of queues, kinds and priorities."""
    TENANT = "tenant"
    """Among the jobs of tenants."""
    TIME = "time"
    """In a range of ids, because ids begin with the time."""
    SEARCH = "search"
    """From the newest job back, through all."""


BY_PARKING = frozenset({Way.PARKED, Way.DEAD})
"""The ways that give jobs in the order in which they were parked."""

BY_ID = frozenset({Way.RUNNING, Way.CAUSE, Way.LANE, Way.TENANT, Way.TIME, Way.SEARCH})
"""The ways that give jobs in the order of their ids, so that a range of time is a range of the way."""

_FEW = {
    State.PROCESSING: Way.RUNNING,
    State.PENDING: Way.READY,
    State.SCHEDULED: Way.PARKED,
    State.BLOCKED: Way.PARKED,
    State.PAUSED: Way.PARKED,
    State.FAILED: Way.PARKED,
}
_LANE_WORDS = ("queue", "kind", "priority")
_TIME_WORDS = ("since", "until", "age")


class Plan(msgspec.Struct, frozen=True):
    """A way, and what it needs.

    ids, state, tenants, causes: what the jobs of the way have in common.
    lane_terms: which lanes the jobs are in; all if there are none. The ways READY and DEAD take them, too.
    range_terms: terms that are a range of ids.
    rest: terms to be judged on each job.
    """

    way: Way
    rest: tuple[Term, ...] = ()
    ids: tuple[str, ...] = ()
    state: State | None = None
    tenants: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    lane_terms: tuple[Term, ...] = ()
    range_terms: tuple[Term, ...] = ()


class IdRange(msgspec.Struct, frozen=True):
    """A range of ids; both ends are outside of it."""

    after: str = FIRST_ID
    before: str = LAST_ID

    def last(self, *, oldest_first: bool) -> str:
        """Return the last id that is inside, in a direction."""
        return str(UUID(int=UUID(self.before).int - 1 if oldest_first else UUID(self.after).int + 1))


def plan(wanted: Filter) -> Plan:
    """Return how the jobs of a filter are found.

    An id is one step. The dead letters of one error are the fewest, the few jobs in a state beat the many of a lane,
    and the jobs of a tenant those of a lane, because there are more tenants than lanes.
    """
    named = [term for term in wanted.of_word("id") if not term.is_not and all(ids.is_id(_text(i)) for i in term.items)]
    if named:
        rest = _without(wanted.terms, named)
        return Plan(Way.ID, rest, ids=tuple(_text(item) for item in named[0].items))
    in_time = [term for term in wanted.terms if _is_range(term)]
    state_terms = [term for term in wanted.of_word("state") if not term.is_not]
    cause_terms = [term for term in wanted.of_word("cause") if not term.is_not]
    if cause_terms and wanted.states in ((), (State.FAILED,)):
        rest = _without(wanted.terms, [*cause_terms, *state_terms, *in_time])
        causes = tuple(_text(item) for item in cause_terms[0].items)
        return Plan(Way.CAUSE, rest, causes=causes, range_terms=tuple(in_time))
    if len(wanted.states) == 1 and wanted.states[0] in _FEW:
        return _of_state(wanted, wanted.states[0], state_terms, in_time)
    tenant_terms = [term for term in wanted.of_word("tenant") if _is_exact(term)]
    if tenant_terms:
        rest = _without(wanted.terms, [*tenant_terms, *in_time])
        tenants = tuple(_text(item) for item in tenant_terms[0].items)
        return Plan(Way.TENANT, rest, tenants=tenants, range_terms=tuple(in_time))
    lane_terms = [term for term in wanted.terms if term.word in _LANE_WORDS]
    if any(not term.is_not for term in lane_terms):
        rest = _without(wanted.terms, [*lane_terms, *in_time])
        return Plan(Way.LANE, rest, lane_terms=tuple(lane_terms), range_terms=tuple(in_time))
    return by_time(wanted)


def by_parking(wanted: Filter, state: State) -> Plan:
    """Return the way through all jobs that are parked in a state, whatever their lanes."""
    told = [term for term in wanted.of_word("state") if not term.is_not]
    return Plan(Way.PARKED, _without(wanted.terms, told), state=state)


def by_time(wanted: Filter) -> Plan:
    """Return the way that always works: from the newest job back, as far as the filter reaches."""
    in_time = [term for term in wanted.terms if _is_range(term)]
    has_end = any(is_lower_end(term, term.items[0]) for term in in_time)
    way = Way.TIME if has_end else Way.SEARCH
    return Plan(way, _without(wanted.terms, in_time), range_terms=tuple(in_time))


def range_of(terms: Sequence[Term], now: int) -> IdRange:
    """Return the ids of the terms of a plan, at a moment of the store's clock in microseconds."""
    after, before = FIRST_ID, LAST_ID
    for term in terms:
        for item in term.items:
            is_lower = is_lower_end(term, item)
            end = edge(item, now, is_lower=is_lower)
            if is_lower:
                after = max(after, end)
            else:
                before = min(before, end)
    return IdRange(after, before)


def beginning_with(part: str) -> IdRange | None:
    """Return the range of the ids that begin with a text; None if no id does."""
    first, last = part + FIRST_ID[len(part) :], part + LAST_ID[len(part) :]
    if not ids.is_id(first):
        return None
    before, after = UUID(first).int - 1, UUID(last).int + 1
    return IdRange(FIRST_ID if before < 0 else str(UUID(int=before)), LAST_ID if after >> 128 else str(UUID(int=after)))


def edge(item: Item, now: int, *, is_lower: bool) -> str:
    """Return an end of a range of ids, which is outside of it: the id before all those of a moment.

    A span counts back from now, in microseconds. A range that begins at a job has that job in it.
    """
    value = item.value
    if isinstance(value, str):
        return str(UUID(int=UUID(value).int - 1)) if is_lower else value
    moment = now - microseconds(value) if isinstance(value, timedelta) else micros_of(cast("datetime", value))
    head = f"{min(max(0, moment // 1000), MAX_MILLISECONDS):012x}"
    return f"{head[:8]}-{head[8:]}{FIRST_ID[13:]}"


def is_lower_end(term: Term, item: Item) -> bool:
    """Return whether a term of time says after when, not before when."""
    return term.word == "since" or (term.word == "age" and item.how is How.BELOW)


def fits_lane(terms: Sequence[Term], *, queue: str, kind: str, priority: int) -> bool:
    """Return whether the jobs of a lane match the terms of a plan."""
    of_lane: dict[str, str | int] = {"queue": queue, "kind": kind, "priority": priority}
    return all(any(_fits(item, of_lane[term.word]) for item in term.items) is not term.is_not for term in terms)


def _of_state(wanted: Filter, state: State, state_terms: Sequence[Term], in_time: Sequence[Term]) -> Plan:
    way = _FEW[state]
    of_lanes = tuple(term for term in wanted.terms if term.word in _LANE_WORDS)
    if state is State.FAILED and any(not term.is_not for term in of_lanes):
        way = Way.DEAD
    told = [*state_terms, *in_time] if way in BY_ID else state_terms
    lane_terms = of_lanes if way in (Way.READY, Way.DEAD) else ()
    return Plan(
        way,
        _without(wanted.terms, [*told, *lane_terms]),
        state=state,
        lane_terms=lane_terms,
        range_terms=tuple(in_time) if way in BY_ID else (),
    )


def _is_range(term: Term) -> bool:
    return term.word in _TIME_WORDS and not term.is_not and len(term.items) == 1


def _is_exact(term: Term) -> bool:
    return not term.is_not and all(item.how is How.IS for item in term.items)


def _without(terms: Sequence[Term], told: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(term for term in terms if term not in told)


def _fits(item: Item, found: str | int) -> bool:
    match item.how:
        case How.IS:
            return item.value == found
        case How.BEGINS:
            return str(found).startswith(_text(item))
        case How.ABOVE:
            return cast("int", found) > cast("int", item.value)
        case How.BELOW:
            return cast("int", found) < cast("int", item.value)


def _text(item: Item) -> str:
    return cast("str", item.value)
