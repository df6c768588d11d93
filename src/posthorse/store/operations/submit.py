"""Submitting: jobs enter the store, with their keys, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, cast

from posthorse import ids
from posthorse.errors import UsageError
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queue_depth import Gauge
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import BoundQuery, Operation, QuerySteps, TypedQuery, query, query_rows
from posthorse.store.operations.keys import take_keys, wanted_key
from posthorse.store.operations.queues import check_open, check_room
from posthorse.store.operations.telling import tell_submitted
from posthorse.store.operations.unique import take_identities
from posthorse.store.queries import Value

NO_GAUGES: Mapping[str, Gauge] = {}
NONE_CLOSED = frozenset[str]()

MAX_BATCH_BYTES = 64 * 1024 * 1024
"""Maximum length, in characters, of the arguments in one statement. Texts of SQLite and messages to PostgreSQL are
limited to a gigabyte, and one of these characters may take eight bytes on the way.
"""


# The store's clock, and how many runners were notified.
ENQUEUE = TypedQuery("enqueue", tuple[int, int])
ENQUEUE_ALIKE = TypedQuery("enqueue_alike", tuple[int, int])
ENQUEUE_ONE = TypedQuery("enqueue_one", tuple[int, int])


class EntryTerms(NamedTuple):
    """With what jobs enter the store; see `enqueue`."""

    lanes: Mapping[Lane, int]
    gauges: Mapping[str, Gauge] = NO_GAUGES
    closed: frozenset[str] = NONE_CLOSED
    packing: Packing = PLAIN
    told: Kinds = NO_KINDS


class SubmitResult(NamedTuple):
    """Where a submitted job is; `created` is False if a key or an identity matched an earlier one."""

    id: str
    created: bool


# A batch has thousands, and `SubmitResult._make` would take four times as long.
_as_result: Callable[[tuple[str, bool]], SubmitResult] = partial(cast("Any", tuple).__new__, SubmitResult)


def enqueue_one(job_id: str, job: NewJob, lane: int, packing: Packing = PLAIN) -> Operation[None]:
    """Write a plain job whose id was just made. Raises UsageError and CodecError as `enqueue` does."""
    if packing.is_on:
        job = packing.new_job(job, job_id)
    return Operation(partial(_enqueue_one, job_id, job, lane), is_single=True)


def _enqueue_one(job_id: str, job: NewJob, lane: int) -> QuerySteps[None]:
    made_at = ids.wall() // 1_000_000
    [(now, _)] = ENQUEUE_ONE.typed((yield _inserting_one(job_id, job, lane, made_at)))
    check_clock(made_at, now)


def enqueue(
    jobs: Sequence[NewJob],
    lanes: Mapping[Lane, int],
    *,
    gauges: Mapping[str, Gauge] = NO_GAUGES,
    closed: frozenset[str] = NONE_CLOSED,
    packing: Packing = PLAIN,
    told: Kinds = NO_KINDS,
) -> Operation[list[SubmitResult]]:
    """Write jobs, all or none; return results in their order. No two have the same id.

    gauges: those of queues with a limited depth. closed: queues that accept no new jobs; see `admission`.
    packing: packs the arguments at once, before anything is written. told: kinds whose new jobs the stream hears about.

    Raises KeyConflict if a key was used before with other arguments; NotUnique if a conflict should raise it; QueueFull
    if a queue has no room; QueueClosed; CodecError; UsageError if this machine's clock is more than a day from the
    store's.
    """
    jobs = packing.new_jobs(jobs)
    has_keys = any(job.key is not None or job.unique is not None for job in jobs)
    has_places = any(job.sequence is not None for job in jobs)
    is_heavy = len(jobs) > 1 and _weight(jobs) > MAX_BATCH_BYTES
    start = partial(_enqueue, jobs, lanes, has_keys, gauges, closed, packing, told)
    return Operation(start, is_single=not (has_keys or has_places or gauges or is_heavy or told))


def entering(jobs: Sequence[NewJob], terms: EntryTerms) -> QuerySteps[list[SubmitResult]]:
    """Do as `enqueue`, as a part of other operations."""
    lanes, gauges, closed, packing, told = terms
    return enqueue(jobs, lanes, gauges=gauges, closed=closed, packing=packing, told=told).start()


def _enqueue(
    jobs: Sequence[NewJob],
    lanes: Mapping[Lane, int],
    has_keys: bool,
    gauges: Mapping[str, Gauge],
    closed: frozenset[str],
    packing: Packing,
    told: Kinds,
) -> QuerySteps[list[SubmitResult]]:
    answers = [*map(_as_result, [(job.id, True) for job in jobs])]
    if has_keys:
        earlier, jobs = yield from without_known(jobs, packing)
        answers = [SubmitResult(earlier[one.id], created=False) if one.id in earlier else one for one in answers]
    if closed:
        check_open(jobs, closed)
    if gauges:
        yield from check_room(jobs, gauges)
    if jobs:
        made_at = ids.milliseconds_of(jobs[0].id)
        for portion in portions(jobs):
            [(now, _)] = ENQUEUE.typed((yield _inserting(portion, lanes, made_at=made_at)))
            check_clock(made_at, now)
            if told:
                yield from tell_submitted([job.id for job in portion if job.lane.kind in told], now)
        # Scheduled jobs get a position when they are due.
        places = [(job.sequence, job.id) for job in jobs if job.sequence and job.run_at is None and not job.delay]
        if places:
            yield query_rows("join_sequences", places)
    return answers


def portions(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    """Cut jobs into parts that one statement can take."""
    if len(jobs) == 1 or _weight(jobs) <= MAX_BATCH_BYTES:
        yield jobs
        return
    begin, weight = 0, 0
    for end, job in enumerate(jobs):
        weight += len(job.arguments)
        if weight > MAX_BATCH_BYTES and end > begin:
            yield jobs[begin:end]
            begin, weight = end, len(job.arguments)
    yield jobs[begin:]


def _weight(jobs: Sequence[NewJob]) -> int:
    return sum(map(len, map(_arguments, jobs)))


def _inserting(jobs: Sequence[NewJob], lanes: Mapping[Lane, int], *, made_at: int) -> BoundQuery:
    job = jobs[0]
    when: dict[str, Value] = {"made_at": made_at, "tolerance": ids.CLOCK_TOLERANCE}
    if job.run_at is None and not job.delay and job.parent is None and _are_alike(jobs):
        if len(jobs) == 1:
            return _inserting_one(job.id, job, lanes[job.lane], made_at)
        values = {"lane": lanes[job.lane], "options": job.options, "tenant": job.tenant, "tags": job.tags}
        return BoundQuery(ENQUEUE_ALIKE.name, when | values, [(job.id, job.arguments) for job in jobs])
    rows = [
        (
            job.id,
            lanes[job.lane],
            job.arguments,
            job.run_at,
            job.delay,
            job.options,
            job.tenant,
            job.tags,
            job.parent,
        )
        for job in jobs
    ]
    return BoundQuery(ENQUEUE.name, when, rows)


def _inserting_one(job_id: str, job: NewJob, lane: int, made_at: int) -> BoundQuery:
    values: dict[str, Value] = {
        "id": job_id,
        "lane": lane,
        "arguments": job.arguments,
        "options": job.options or "",
        "tenant": job.tenant or "",
        "tags": job.tags or "",
        "made_at": made_at,
        "tolerance": ids.CLOCK_TOLERANCE,
    }
    return BoundQuery(ENQUEUE_ONE.name, values)


def _are_alike(jobs: Sequence[NewJob]) -> bool:
    """Return True if they differ only in their arguments."""
    first = _besides_arguments(jobs[0])
    return all(map(first.__eq__, map(_besides_arguments, jobs)))


_arguments: Callable[[NewJob], str] = attrgetter("arguments")
_besides_arguments = attrgetter("lane", "run_at", "delay", "options", "tenant", "tags", "parent")


def without_known(jobs: Sequence[NewJob], packing: Packing) -> QuerySteps[tuple[Mapping[str, str], Sequence[NewJob]]]:
    """Return the jobs that already exist, by key or identity (new ids and earlier ones), and the new jobs."""
    by_key = yield from take_keys(jobs)
    jobs = [job for job in jobs if job.id not in by_key]
    by_identity, instead = yield from take_identities(jobs, packing)
    for job in jobs:
        if job.key is not None and job.id in by_identity:
            wanted = wanted_key(job)
            yield query(
                "point_key",
                tenant=wanted.tenant,
                scope=wanted.scope,
                key=wanted.key,
                job=job.id,
                earlier=by_identity[job.id],
            )
    by_key = {new: by_identity.get(earlier, earlier) for new, earlier in by_key.items()}
    return {**by_key, **by_identity}, [instead.get(job.id, job) for job in jobs if job.id not in by_identity]


def check_clock(made_at: int, now: int) -> None:
    """Compare the clock that made ids with the store's. Raises UsageError."""
    away = made_at - now // 1000
    if abs(away) * 1000 >= ids.CLOCK_TOLERANCE:
        raise UsageError(
            f"this machine's clock is {abs(away) / 3_600_000:.0f} hours {'ahead of' if away > 0 else 'behind'} the "
            "store's, so its job ids cannot be used and nothing was enqueued; set the clock and enqueue again"
        )
