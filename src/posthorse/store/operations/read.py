"""Reading: jobs, runners and counts as they are stored. Times are microseconds on the store's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.rules.job import State
from posthorse.rules.namesakes import split_places
from posthorse.rules.timeline import Evidence, StoredFacts
from posthorse.store.base import QuerySteps, TypedQuery, operation, single_operation
from posthorse.store.operations.one_job import ARGUMENTS

_decode_names = msgspec.json.Decoder(list[str]).decode


class JobRow(NamedTuple):
    """A job as stored. The fields from `done` to `updated_at` are None until its first checkpoint.

    `updated_at` is when its last slice was saved, or when it was last claimed, if that was later.
    """

    id: str
    state: str
    reason: str | None
    kind: str
    queue: str
    priority: int
    tenant: str | None
    tags: str | None
    errors: int
    crashes: int
    interruptions: int
    options: str | None
    request: str | None
    error: str | None
    worker: str | None
    created_at: int
    run_at: int | None
    started_at: int | None
    finished_at: int | None
    done: int | None
    total: int | None
    pace: str | None
    note: str | None
    updated_at: int | None
    now: int
    completed_by: str | None
    """The name of the worker that completed it."""


class StoredCall(NamedTuple):
    """What a job calls. The arguments are JSON, or packed."""

    kind: str
    arguments: str
    options: str | None


class OutcomeRow(NamedTuple):
    """How a job ended, if its state is final."""

    state: str
    result: str | None
    error: str | None
    reason: str | None
    kind: str


class TimelineRow(NamedTuple):
    """A job and one of its events as stored; the last four are None if it has none."""

    version: int
    state: str
    created_at: int
    run_at: int | None
    started_at: int | None
    finished_at: int | None
    completed_by: str | None
    options: str | None
    claimed_at: int | None
    worker: str | None
    number: int | None
    at: int | None
    name: str | None
    detail: str | None


class StoredTimeline(NamedTuple):
    """What the timeline of a job is told from. `options` are its own, as stored."""

    facts: StoredFacts
    evidence: Sequence[Evidence]
    options: str | None


class ChangeMarks(NamedTuple):
    """What changes with every event of a job (its version, and the epoch of its lease), and with every checkpoint."""

    version: int
    epoch: int | None
    saved_at: int | None


class StoredRunner(NamedTuple):
    """A runner as stored; `queues` and `kinds` are JSON, `kinds` with their places."""

    id: str
    worker: str
    host: str
    pid: int
    version: str
    started_at: int
    beat_at: int
    idle: int
    draining: int
    running: int
    concurrency: int
    queues: str
    kinds: str
    silent_for: int


class WorkerRow(NamedTuple):
    """A registered runner; `silent_for` is the time since its last heartbeat."""

    id: str
    worker: str
    host: str
    pid: int
    version: str
    started_at: int
    beat_at: int
    is_idle: bool
    is_draining: bool
    running: int
    concurrency: int
    queues: list[str]
    kinds: list[str]
    silent_for: int
    places: Mapping[str, str] = {}
    """Where the functions of its kinds are defined."""


class HolderRow(NamedTuple):
    """The runner that holds the lease on a job."""

    worker: str
    host: str
    pid: int
    beat_at: int
    claimed_at: int


class Depth(NamedTuple):
    """How many jobs wait in the lanes of a queue, kind and priority, and the position of the first."""

    queue: str
    kind: str
    priority: int
    waiting: int
    first: int


JOB = TypedQuery("job", JobRow)
JOBS_BY_ID = TypedQuery("jobs_by_id", JobRow)
LATENESS = TypedQuery("lateness", tuple[int])
HOLDER = TypedQuery("holder", HolderRow)
OUTCOME = TypedQuery("outcome", OutcomeRow)
OVER = TypedQuery("over", tuple[str])
EVENTS = TypedQuery("events", Evidence)
TIMELINE = TypedQuery("timeline", TimelineRow)
PULSE = TypedQuery("pulse", ChangeMarks)
WORKERS = TypedQuery("workers", StoredRunner)
DEPTHS = TypedQuery("depths", Depth)
PARKED_COUNTS = TypedQuery("parked_counts", tuple[str, int])
RUNNING_COUNT = TypedQuery("running_count", tuple[int])
COUNT_UNFIT = TypedQuery("count_unfit", tuple[int])


@single_operation
def job(job_id: str) -> QuerySteps[JobRow | None]:
    """Return a job as stored, or None."""
    rows = yield from JOB(job=job_id)
    return rows[0] if rows else None


@operation
def jobs_by_id(ids: Sequence[str]) -> QuerySteps[list[JobRow]]:
    """Return those of the jobs that exist, in the order of their ids."""
    rows = yield from JOBS_BY_ID([(job_id,) for job_id in ids])
    place = {job_id: number for number, job_id in enumerate(ids)}
    return sorted(rows, key=lambda row: place[row.id])


@single_operation
def lateness(job_id: str) -> QuerySteps[int | None]:
    """Return how many microseconds ago a job could have started; None for one that has started."""
    rows = yield from LATENESS(job=job_id)
    return rows[0][0] if rows else None


@single_operation
def holder(job_id: str) -> QuerySteps[HolderRow | None]:
    """Return the runner of a job; None if it does not run."""
    rows = yield from HOLDER(job=job_id)
    return rows[0] if rows else None


@single_operation
def timeline(job_id: str, *, after: int = 0) -> QuerySteps[StoredTimeline | None]:
    """Return what the timeline of a job behind a number is told from; None if there is no such job."""
    rows = yield from TIMELINE(job=job_id, after=after)
    if not rows:
        return None
    row = rows[0]
    facts = StoredFacts(job_id, *row[:7], row.claimed_at, row.worker)
    evidence = [Evidence(each.number, each.at or 0, each.name or "", each.detail) for each in rows if each.number]
    return StoredTimeline(facts, evidence, row.options)


@single_operation
def pulse(job_id: str) -> QuerySteps[ChangeMarks | None]:
    """Return what changes when something happens to a job; None if there is no such job."""
    rows = yield from PULSE(job=job_id)
    return rows[0] if rows else None


@operation
def call(job_id: str) -> QuerySteps[StoredCall | None]:
    """Return what a job calls, as stored; None if there is no such job."""
    row = yield from job(job_id).start()
    stored = yield from arguments(job_id).start()
    return None if row is None or stored is None else StoredCall(row.kind, stored, row.options)


@single_operation
def outcome(job_id: str) -> QuerySteps[OutcomeRow | None]:
    """Return how a job ended, or its state; None if there is no such job."""
    rows = yield from OUTCOME(job=job_id)
    return rows[0] if rows else None


@single_operation
def over(job_ids: Sequence[str]) -> QuerySteps[list[str]]:
    """Return those of the jobs that are over, or are not stored."""
    return [job for (job,) in (yield from OVER([(job_id,) for job_id in job_ids]))]


@single_operation
def arguments(job_id: str) -> QuerySteps[str | None]:
    """Return the arguments of a job as JSON; None if there is no such job."""
    rows = yield from ARGUMENTS(job=job_id)
    return rows[0][0] if rows else None


@single_operation
def events(job_id: str) -> QuerySteps[list[Evidence]]:
    """Return the events of a job beyond the happy path, in order."""
    return (yield from EVENTS(job=job_id))


@single_operation
def workers() -> QuerySteps[list[WorkerRow]]:
    """Return the registered runners."""
    return [_worker_row(row) for row in (yield from WORKERS())]


@single_operation
def depths() -> QuerySteps[list[Depth]]:
    """Return how many jobs wait, by queue, kind and priority."""
    return (yield from DEPTHS())


@single_operation
def parked_counts() -> QuerySteps[dict[State, int]]:
    """Return how many jobs are parked in each state: scheduled, blocked, paused and failed."""
    return {State(state): count for state, count in (yield from PARKED_COUNTS())}


@single_operation
def running_count() -> QuerySteps[int]:
    """Return how many jobs have a lease."""
    [(count,)] = yield from RUNNING_COUNT()
    return count


@single_operation
def count_unfit(limit: int) -> QuerySteps[int]:
    """Return how many jobs are parked because they do not fit the workers' code, up to the limit."""
    [(count,)] = yield from COUNT_UNFIT(limit=limit)
    return count


def _worker_row(row: StoredRunner) -> WorkerRow:
    queues, (kinds, places) = _decode_names(row.queues), split_places(_decode_names(row.kinds))
    is_idle, is_draining = bool(row.idle), bool(row.draining)
    return WorkerRow(
        *row[:7], is_idle, is_draining, row.running, row.concurrency, queues, kinds, row.silent_for, places
    )
