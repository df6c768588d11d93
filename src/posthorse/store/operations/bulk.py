"""Bulk actions: jobs that were found are steered page by page, each page in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.errors import CodecError, InvalidTransition, JobNotFound
from posthorse.rules.job import State
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.requests import Request
from posthorse.rules.search.aims import has_effect
from posthorse.store.base import QuerySteps, operation
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.operations.one_job import HELD_LEASE, LOCK_JOB
from posthorse.store.operations.read import JOBS_BY_ID
from posthorse.store.operations.waiting import lock_family


class Steered(NamedTuple):
    """How many jobs an action changed; `running` of them stop at their next checkpoint."""

    done: int
    running: int


@operation
def affected(jobs: Sequence[str], action: Request) -> QuerySteps[list[str]]:
    """Return those of the jobs that an action would change now, in their order."""
    found = {row.id: row for row in (yield from JOBS_BY_ID([(job,) for job in jobs]))}
    return [job for job in jobs if (row := found.get(job)) and has_effect(action, State(row.state), row.request)]


@operation
def steer(
    jobs: Sequence[str], state: State, action: Request, *, waits: Sequence[int] = (), packing: Packing = PLAIN
) -> QuerySteps[Steered]:
    """Request an action of jobs that were found in a state.

    Jobs that changed meanwhile, or whose arguments must be known and do not open, are skipped.

    `waits` are microseconds before each retried job may start; empty for none.
    """
    done = running = 0
    for job in jobs:
        if not (yield from _is_still(job, state)):
            continue
        try:
            reached = yield from do_as_asked(job, action, wait=waits[done] if waits else None, packing=packing)
        except (JobNotFound, InvalidTransition, CodecError):  # all are raised before anything is written
            continue
        done += 1
        running += reached is State.PROCESSING and action != "resume"
    return Steered(done, running)


def _is_still(job: str, state: State) -> QuerySteps[bool]:
    yield from lock_family(job)
    rows = yield from LOCK_JOB(job=job)
    if not rows:
        return False
    is_running = bool((yield from HELD_LEASE(job=job)))
    return is_running if state is State.PROCESSING else rows[0].state == state.value and not is_running
