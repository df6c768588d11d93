"""One job that a process runs by itself, regardless of the order in its lane."""

from __future__ import annotations

from collections.abc import Mapping

from posthorse.rules.job import Lane, NewJob, State
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import QuerySteps, TypedQuery, operation, query, unrepeatable_operation
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.keys import wanted_key
from posthorse.store.operations.one_job import HELD_LEASE, LOCK_JOB, WITHDRAW, missing
from posthorse.store.operations.submit import NONE_CLOSED, SubmitResult, enqueue
from posthorse.store.operations.waiting import WAITING_AMONG

IS_ALIVE = TypedQuery("is_alive", tuple[int])
LEASED = TypedQuery("leased", Claimed)


@operation
def enqueue_anew(
    job: NewJob,
    lanes: Mapping[Lane, int],
    *,
    closed: frozenset[str] = NONE_CLOSED,
    packing: Packing = PLAIN,
    told: Kinds = NO_KINDS,
) -> QuerySteps[SubmitResult]:
    """Write a job with a key, or return the earlier one with that key if it is not over.

    Raises KeyConflict if the earlier one has other arguments, QueueClosed for a new one.
    """
    tenant, scope, key = wanted_key(job).entry
    yield query("pass_key_on", job=job.id, fingerprint=job.fingerprint, tenant=tenant, scope=scope, key=key)
    [submitted] = yield from enqueue([job], lanes, closed=closed, packing=packing, told=told).start()
    return submitted


@unrepeatable_operation
def claim_one(runner: str, job: str, *, early: bool) -> QuerySteps[list[Claimed]]:
    """Lease this job to a living runner, wherever it is in its lane; return nothing if it may not run.

    With `early` it need not wait for its time. Raises JobNotFound.
    """
    if not (yield from IS_ALIVE(runner=runner)):
        return []
    rows = yield from LOCK_JOB(job=job)
    if not rows:
        raise (yield from missing(job))
    [locked] = rows
    state = State(locked.state)
    if (yield from HELD_LEASE(job=job)):
        return []
    if state is State.PENDING:
        if not (yield from WITHDRAW(lane=locked.lane, seq=locked.seq, job=job)):
            return []  # claimed between the two queries
    elif waits_for_its_time(state) and (early or is_due(locked.run_at, locked.now)):
        if (yield from WAITING_AMONG([(job,)])):
            return []  # what it needs is not there, however early it may run
        yield query("unpark", job=job)
        yield query("take_up", job=job)
    else:
        return []
    yield query("lease_out", job=job, runner=runner)
    return (yield from LEASED(job=job))


def waits_for_its_time(state: State) -> bool:
    """Return whether a job in this state waits for its time."""
    return state in (State.SCHEDULED, State.BLOCKED)


def is_due(run_at: int | None, now: int) -> bool:
    """Return whether the time of a scheduled job has come."""
    return run_at is not None and run_at <= now
