"""One job, as the operations that change it lock it and look at it."""

from __future__ import annotations

from typing import NamedTuple

from posthorse import ids
from posthorse.clock import moment
from posthorse.errors import JobForgotten, JobNotFound
from posthorse.rules.requests import AskedOfRunner
from posthorse.store.base import QuerySteps, TypedQuery, single_operation
from posthorse.store.operations.store_facts import FACT

FORGOTTEN_UNTIL = "forgotten_until"
"""The fact about the store that names the newest job that retention removed."""


class LockedJob(NamedTuple):
    """A job that no other process changes until the end of the transaction. The last six are its lane."""

    state: str
    """As stored: one that a runner holds has a lease, too."""
    lane: int
    seq: int
    run_at: int | None
    now: int
    queue: str
    kind: str
    priority: int
    solo: int
    tenant: str
    keyed: int


LOCK_JOB = TypedQuery("lock_job", LockedJob)
HELD_LEASE = TypedQuery("held_lease", tuple[int, str])
WITHDRAW = TypedQuery("withdraw", tuple[int])
OWNER_STATE = TypedQuery("owner_state", tuple[str, str, int])
IDENTITY_OF = TypedQuery("identity_of", tuple[str | None, str, str, str | None, int])
UNASK_RUNNER = TypedQuery("unask_runner", tuple[str, AskedOfRunner])
ARGUMENTS = TypedQuery("arguments", tuple[str])


@single_operation
def why_missing(job: str) -> QuerySteps[JobNotFound]:
    """Return the error for a job that is not in the store."""
    return (yield from missing(job))


def missing(job: str) -> QuerySteps[JobNotFound]:
    """Make the error for a job that is not in the store, as a part of other operations."""
    newest = yield from FACT(name=FORGOTTEN_UNTIL)
    if newest and job <= newest[0][0]:
        made = moment(1000 * ids.milliseconds_of(job))
        return JobForgotten(f"job {job} of {made:%Y-%m-%d} was removed, because retention keeps no job for so long")
    return unknown(job)


def unknown(job: str) -> JobNotFound:
    """Make the error for an id, or a part of one, that no job ever had."""
    return JobNotFound(f"no job has the id {job!r} in this store; is POSTHORSE_URL the one it was enqueued to?")
