"""Bulk actions: the jobs that match a filter are found and steered page by page, each page in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, cast

import msgspec

from posthorse.clock import microseconds
from posthorse.errors import CodecError, InvalidTransition, JobNotFound
from posthorse.rules.filters import Filter, has_effect
from posthorse.rules.job import State
from posthorse.rules.lifecycle import Request
from posthorse.rules.packing import PLAIN, Packing
from posthorse.store.base import BoundQuery, QuerySteps, operation, query, query_rows, single_operation
from posthorse.store.operations.moves import PARKED_STATES, do_as_asked
from posthorse.store.operations.read import JobRow
from posthorse.store.queries import Value

FIRST = "00000000-0000-0000-0000-000000000000"
"""Sorts before the id of any job."""


class Page(NamedTuple):
    """The result of one page.

    done: how many jobs the action changed. running: how many of them run, and stop at their next checkpoint.
    last: the last job that was looked at, if there may be more.
    """

    done: int
    last: str | None
    running: int = 0


@single_operation
def matching(wanted: Filter, *, after: str, limit: int) -> QuerySteps[list[str]]:
    """Return the ids of matching jobs after a given one, the oldest first."""
    rows = yield _ask_matching(wanted, after, limit)
    return [cast("str", row[0]) for row in rows]


@single_operation
def count_matching(wanted: Filter) -> QuerySteps[int]:
    """Return how many jobs match."""
    rows = yield BoundQuery("count_set_aside" if _is_set_aside(wanted) else "count_matching", _values(wanted))
    return cast("int", rows[0][0])


@operation
def steer_page(
    wanted: Filter, action: Request, *, after: str, limit: int, waits: Sequence[int], packing: Packing = PLAIN
) -> QuerySteps[Page]:
    """Request an action of the next matching jobs.

    Jobs that changed meanwhile, whose state forbids it, or whose arguments must be known and do not open, are skipped.

    `waits` are microseconds before each retried job may start; empty for none.
    """
    jobs, last = yield from _next_jobs(wanted, action, after, limit)
    done = running = 0
    for job in jobs:
        if wanted.state is not None and not (yield from _is_still(job, wanted.state)):
            continue
        try:
            state = yield from do_as_asked(job, action, wait=waits[done] if waits else None, packing=packing)
        except (JobNotFound, InvalidTransition, CodecError):  # all are raised before anything is written
            continue
        done += 1
        running += state is State.PROCESSING and action != "resume"
    return Page(done, last, running)


@operation
def affected_page(wanted: Filter, action: Request, *, after: str, limit: int) -> QuerySteps[Page]:
    """Count the next jobs that `steer_page` would steer; change nothing."""
    jobs, last = yield from _next_jobs(wanted, action, after, limit)
    return Page(len(jobs), last)


def _next_jobs(wanted: Filter, action: Request, after: str, limit: int) -> QuerySteps[tuple[list[str], str | None]]:
    """Return the next matching jobs that the action changes, and the last matching one if there may be more."""
    rows = yield _ask_matching(wanted, after, limit, with_over=action != "cancel" and action != "pause")
    last = cast("str", rows[-1][0]) if len(rows) == limit else None
    if action not in ("retry", "discard") and rows:
        found = {row.id: row for row in map(JobRow._make, (yield query_rows("jobs_by_id", rows)))}
        rows = [
            (job,)
            for job, *_ in rows
            if (row := found.get(cast("str", job))) and has_effect(action, State(row.state), row.request)
        ]
    return [cast("str", job) for job, *_ in rows], last


def _is_still(job: str, state: State) -> QuerySteps[bool]:
    rows = yield query("lock_job", job=job)
    if not rows:
        return False
    is_running = bool((yield query("held_lease", job=job)))
    return is_running if state is State.PROCESSING else rows[0][0] == state.value and not is_running


def _ask_matching(wanted: Filter, after: str, limit: int, *, with_over: bool = True) -> BoundQuery:
    values = {**_values(wanted), "after": after, "limit": limit}
    if _is_set_aside(wanted):
        return BoundQuery("matching_set_aside", values)
    if wanted.state is State.PROCESSING:
        return BoundQuery("matching_running", values)
    return BoundQuery("matching", {**values, "with_over": with_over})


def _is_set_aside(wanted: Filter) -> bool:
    """Return True if the matching jobs are found among the few parked ones, not among all jobs ever."""
    return wanted.state in PARKED_STATES


def _values(wanted: Filter) -> dict[str, Value]:
    return {
        "state": None if wanted.state is None else wanted.state.value,
        "kind": wanted.kind,
        "queue": wanted.queue,
        "tag": None if wanted.tag is None else msgspec.json.encode(wanted.tag).decode(),
        "tenant": wanted.tenant,
        "error": wanted.error,
        "reason": None if wanted.reason is None else wanted.reason.replace("-", " ").lower(),
        "older": _micros(wanted.older),
        "newer": _micros(wanted.newer),
    }


def _micros(span: timedelta | None) -> int | None:
    return None if span is None else microseconds(span)
