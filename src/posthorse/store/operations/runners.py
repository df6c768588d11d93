"""Runners: incarnations that hold leases, their heartbeats, and the sweep after those that died."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import monotonic
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Spent
from posthorse.rules.namesakes import with_places
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query, single_operation
from posthorse.store.operations.incidents import note_losses
from posthorse.store.operations.lanes import home_of


class Runner(msgspec.Struct, frozen=True):
    """An incarnation of a runner: a random id, never reused, in one process of one boot of one machine."""

    id: str
    worker: str
    host: str
    pid: int
    version: str
    concurrency: int
    queues: Sequence[str]
    kinds: Sequence[str]
    labels: Sequence[str] = ()
    places: Mapping[str, str] = {}
    """Where the functions of its kinds are defined, to tell applications apart."""
    release: str | None = None
    """The release of the application."""


class Held(NamedTuple):
    """A lease, with what the decision about its job needs."""

    job: str
    epoch: int
    runner: str
    lane: Lane
    spent: Spent


class NextDue(NamedTuple):
    """What is due next.

    job, gate: microseconds until the next scheduled job is due, and until the next gate has a token for held jobs;
    negative if late, None if there is none.
    has_held: whether any job is held before a gate. has_ends: whether ends are noted that are not counted.
    has_steered: whether something is done to the children of a parent. has_narrow: whether only some parts of a job may
    run at once.
    """

    job: int | None
    gate: int | None
    has_held: bool
    now: int = 0
    """The store's clock."""
    has_ends: bool = False
    has_steered: bool = False
    has_narrow: bool = False


class Beat(NamedTuple):
    """The reply to a heartbeat: whether the runner is still registered."""

    is_alive: bool


class Requests(NamedTuple):
    """What is requested of the jobs of a runner: "pause" or "cancel", by job; `changes` counts those of queues and
    watchers; `now` is in microseconds on the store's clock.
    """

    of_jobs: dict[str, str]
    changes: int
    now: int


class RunnerSeen(NamedTuple):
    """A registered runner, as far as a probe asks; it is alive while its lease holds."""

    worker: str
    host: str
    pid: int
    is_alive: int
    is_draining: int


class Lease(NamedTuple):
    """A lease as stored, with what the decision about its job needs."""

    job: str
    epoch: int
    runner: str
    errors: int
    crashes: int
    interruptions: int
    advanced_in: int | None
    """The epoch that committed the last slice."""
    queue: str
    kind: str
    priority: int
    solo: int
    tenant: str
    keyed: int


WITHOUT_LANE = TypedQuery("without_lane", tuple[str])
ENTER_LANES = TypedQuery("enter_lanes", tuple[str])
RUNNERS_OF = TypedQuery("runners_of", RunnerSeen)
BEAT = TypedQuery("beat", tuple[str])
REQUESTS_FOR = TypedQuery("requests_for", tuple[str | None, str, int])
STILL_HELD = TypedQuery("still_held", tuple[str])
LEASES_OF = TypedQuery("leases_of", Lease)
ORPHANS = TypedQuery("orphans", Lease)
RESCUE_EXPIRED = TypedQuery("rescue_expired", tuple[str, str, str, int])
PROMOTE = TypedQuery("promote", tuple[str, int])
NEXT_DUE = TypedQuery("next_due", tuple[int | None, int | None, int, int, int, int, int])
TAKE_LEADERSHIP = TypedQuery("take_leadership", tuple[str])


@creating_no_work
@operation
def register(runner: Runner, *, lease: int) -> QuerySteps[None]:
    """Register a runner; `lease` is in microseconds. The first of a release leaves a mark."""
    if runner.release is not None:
        yield query("note_release", name=runner.release)
    yield query(
        "register_runner",
        id=runner.id,
        worker=runner.worker,
        host=runner.host,
        pid=runner.pid,
        version=runner.version,
        lease=lease,
        concurrency=runner.concurrency,
        queues=_json(runner.queues),
        kinds=_json(with_places(runner.kinds, runner.places)),
        labels=_json(runner.labels),
        release=runner.release,
    )


@creating_no_work
@single_operation
def beat(runner: str, *, lease: int, running: int, draining: bool) -> QuerySteps[Beat]:
    """Renew a runner's lease."""
    return Beat(bool((yield from BEAT(id=runner, lease=lease, running=running, draining=draining))))


@single_operation
def runners_of(*, worker: str | None, host: str) -> QuerySteps[list[RunnerSeen]]:
    """Return the runners of a worker, by its name, and all of a machine."""
    return (yield from RUNNERS_OF(worker=worker, host=host))


@single_operation
def requests_for(runner: str) -> QuerySteps[Requests]:
    """Return the requests for the jobs of a runner, and how often queues and watchers were changed."""
    rows = yield from REQUESTS_FOR(runner=runner)
    changes, moment = next((words, moment) for job, words, moment in rows if job is None)
    return Requests({job: words for job, words, _ in rows if job is not None}, int(changes), moment)


@single_operation
def still_held(runner: str, attempts: Sequence[tuple[str, int]]) -> QuerySteps[set[str]]:
    """Return the jobs of these attempts (job, epoch) of a runner that still have their lease."""
    return {job for (job,) in (yield from STILL_HELD(attempts, runner=runner))}


@creating_no_work
@single_operation
def set_idle(runner: str, *, idle: bool) -> QuerySteps[None]:
    """Record whether a runner waits to be woken."""
    yield query("set_idle", id=runner, idle=idle)


@creating_no_work
@single_operation
def retire(runner: str) -> QuerySteps[None]:
    """Remove a runner."""
    yield query("retire_runner", id=runner)


@single_operation
def held_by(runner: str) -> QuerySteps[list[Held]]:
    """Return what a runner holds."""
    return [_held(lease) for lease in (yield from LEASES_OF(runner=runner))]


@operation
def rescue_expired(*, grace: int, until: float = math.inf) -> QuerySteps[list[tuple[str, str]]]:
    """Remove runners whose lease ended more than `grace` microseconds ago; return (runner, worker).

    Returns none if it runs after `until`, in monotonic seconds: what delayed it may have delayed their heartbeats.
    """
    if monotonic() > until:
        return []
    removed = yield from RESCUE_EXPIRED(grace=grace)
    yield query("stale_controls")
    if removed:
        yield from note_losses(removed)
    return [(runner, worker) for runner, worker, _, _ in removed]


@single_operation
def orphans(limit: int) -> QuerySteps[list[Held]]:
    """Return leases whose runner is not registered."""
    return [_held(lease) for lease in (yield from ORPHANS(limit=limit))]


@single_operation
def promote(limit: int) -> QuerySteps[int]:
    """Line up jobs that are due; return how many."""
    return len((yield from PROMOTE(limit=limit)))


@single_operation
def lacks_lanes() -> QuerySteps[bool]:
    """Return whether jobs were parked without their lane."""
    return bool((yield from WITHOUT_LANE(limit=1)))


@creating_no_work
@single_operation
def enter_lanes(limit: int) -> QuerySteps[int]:
    """Enter the lanes of jobs that were parked without; return how many."""
    return len((yield from ENTER_LANES(limit=limit)))


@single_operation
def next_due() -> QuerySteps[NextDue]:
    """Return when something that waits is due."""
    [(job, gate, held, now, noted, steered, narrow)] = yield from NEXT_DUE()
    return NextDue(job, gate, bool(held), now, bool(noted), bool(steered), bool(narrow))


@creating_no_work
@single_operation
def take_leadership(name: str, holder: str, *, span: int) -> QuerySteps[bool]:
    """Take or keep the leadership of a chore for `span` microseconds; return False if another process has it."""
    return bool((yield from TAKE_LEADERSHIP(name=name, holder=holder, span=span)))


@creating_no_work
@single_operation
def leave_leadership(name: str, holder: str) -> QuerySteps[None]:
    """Give up a leadership."""
    yield query("leave_leadership", name=name, holder=holder)


def _held(lease: Lease) -> Held:
    # A slice that this attempt committed is progress, and progress clears the budgets.
    is_ahead = lease.advanced_in == lease.epoch
    spent = Spent(lease.errors) if is_ahead else Spent(lease.errors, lease.crashes, lease.interruptions)
    return Held(lease.job, lease.epoch, lease.runner, home_of(*lease[7:]), spent)


def _json(names: Sequence[str]) -> str:
    return msgspec.json.encode(list(names)).decode()
