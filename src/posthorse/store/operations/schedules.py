"""Schedules in the store: declared by code, run once for each time by the first process that looks, steered by users.

A time is handled in the commit that writes its job. `handled_until` advances from the value that the caller knew, and a
row for the time itself guards against clocks that are set back. Times that come again after that are separate instants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from posthorse import ids
from posthorse.errors import InvalidTransition, JobNotFound, QueueClosed, QueueFull
from posthorse.rules.job import NewJob, State
from posthorse.rules.schedules import Declared, Overlap, Policies, among_open, at_instant, job_at
from posthorse.rules.store_events import SteeredSchedule, StoreEventName
from posthorse.store.base import QuerySteps, TypedQuery, operation, query, query_rows, single_operation
from posthorse.store.operations import store_facts
from posthorse.store.operations.incidents import note_miss
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.operations.queues import check_open, check_room
from posthorse.store.operations.submit import NO_GAUGES, NONE_CLOSED, EntryTerms, SubmitResult, entering
from posthorse.store.operations.telling import tell_of_store
from posthorse.store.queries import Row

MAX_OPEN = 1_000


class ScheduleRow(NamedTuple):
    """A schedule as stored; times are microseconds, `now` is on the store's clock."""

    name: str
    fingerprint: str
    timing: str
    policies: str
    call: str
    is_paused: int
    """Whether it is paused; SQLite has no booleans."""
    handled_until: int
    seen_at: int
    last_at: int | None
    last_job: str | None
    skipped: int
    now: int


class Fired(NamedTuple):
    """The result of handling times: the jobs, and how many others the queue refused, with the error."""

    jobs: Sequence[str]
    refusal: QueueClosed | QueueFull | None = None
    refused: int = 0


class ScheduledRun(NamedTuple):
    """A time of a schedule and its job."""

    time: int
    job: NewJob


SCHEDULES = TypedQuery("schedules", ScheduleRow)
PASS_SCHEDULE = TypedQuery("pass_schedule", tuple[str])
HOLD_SCHEDULE = TypedQuery("hold_schedule", tuple[str])
TAKE_FIRES = TypedQuery("take_fires", tuple[int])
TAKE_FIRES_AGAIN = TypedQuery("take_fires_again", tuple[int])
STEERING = {
    "pause": TypedQuery("pause_schedule", tuple[str]),
    "resume": TypedQuery("resume_schedule", tuple[str]),
}
FORGET_SCHEDULE = TypedQuery("forget_schedule", tuple[str])
STATES_OF = TypedQuery("states_of", tuple[str, str])


@single_operation
def schedules() -> QuerySteps[list[ScheduleRow]]:
    """Return all schedules, by name."""
    return (yield from SCHEDULES())


@single_operation
def declare(declared: Sequence[Declared]) -> QuerySteps[None]:
    """Write schedules as this code declares them."""
    yield query_rows(
        "declare_schedules",
        [_as_row(one) for one in sorted(declared, key=lambda one: one.name)],  # one order prevents deadlock
        attended=True,
    )


@single_operation
def see(declared: Sequence[Declared]) -> QuerySteps[None]:
    """Record that a worker attends to these schedules."""
    yield query_rows("see_schedules", [(one.name, one.fingerprint) for one in declared])


@operation
def fire(
    declared: Declared,
    runs: Sequence[ScheduledRun],
    *,
    known: int,
    handled_until: int,
    missed_since: int | None = None,
    forget_before: int = 0,
    terms: EntryTerms,
) -> QuerySteps[Fired | None]:
    """Handle the times of a schedule from `known` to `handled_until`; return the jobs that were made.

    missed_since: the first of them, if it was missed: that is noted. Times before `forget_before` are forgotten: the
    store no longer knows that they were run. Times that their queue refuses are skipped, and counted. None if another
    process handled them, or the schedule was paused or changed meanwhile.
    """
    passed = yield from PASS_SCHEDULE(
        name=declared.name, fingerprint=declared.fingerprint, known=known, handled_until=handled_until
    )
    if not passed:
        return None

    fired = Fired([])
    if runs:
        by_time = yield from _take(declared.name, runs)
        yield query("forget_fires", name=declared.name, before=forget_before)
        fired = yield from _run(declared, by_time, passed[0][0], terms)
    if missed_since is not None:
        yield from note_miss(declared.name, missed_since, handled_until, len(fired.jobs))
    return fired


def _run(
    declared: Declared,
    by_time: Mapping[int, NewJob],
    open_jobs: str,
    terms: EntryTerms,
) -> QuerySteps[Fired]:
    """Make the jobs for times that were reserved. open_jobs: the earlier jobs of the schedule, as stored."""
    new = sorted(by_time)
    still_open = yield from _still_open(open_jobs)
    overlap = declared.policies.overlap
    wanted = among_open(overlap, new, is_open=bool(still_open))
    chosen, refusal = yield from _admitted(wanted, [by_time[time] for time in wanted], terms)
    if overlap == "cancel" and chosen:
        yield from _cancel(still_open)
    made = [by_time[time] for time in chosen]
    jobs: list[str] = []
    if made:
        admitted = terms._replace(gauges=NO_GAUGES, closed=NONE_CLOSED)
        jobs = [submitted.id for submitted in (yield from entering(made, admitted))]
    last_at = chosen[-1] if chosen else None
    yield from _note(declared.name, overlap, [*still_open, *jobs], jobs, last_at, skipped=len(new) - len(chosen))
    return Fired(jobs, refusal, len(wanted) - len(chosen))


@operation
def go_back(declared: Declared, *, known: int, now: int, comes_again_after: int | None) -> QuerySteps[bool]:
    """Let a schedule go on from `now` after the clock was set back; times after `comes_again_after` are run again.

    Returns False if another process handled it, or the schedule was paused or changed meanwhile.
    """
    passed = yield from PASS_SCHEDULE(
        name=declared.name, fingerprint=declared.fingerprint, known=known, handled_until=now
    )
    if passed and comes_again_after is not None:
        yield query("set_fires_free", name=declared.name, after=comes_again_after)
    return bool(passed)


def _take(name: str, runs: Sequence[ScheduledRun]) -> QuerySteps[dict[int, NewJob]]:
    """Reserve times; return the jobs of those that were not run yet or come again, by their instants."""
    taken = yield from TAKE_FIRES([(run.time,) for run in runs], name=name)
    new = {time for (time,) in taken}
    known = {run.time: run.job for run in runs if run.time not in new}
    found = {run.time: run.job for run in runs if run.time in new}
    if known:
        again = yield from TAKE_FIRES_AGAIN([(time,) for time in known], name=name)
        for (time,) in sorted(again):
            instant = time + 1
            while not (yield from TAKE_FIRES([(instant,)], name=name)):
                instant += 1
            found[instant] = at_instant(known[time], instant)
    return found


def _admitted(
    times: Sequence[int], jobs: Sequence[NewJob], terms: EntryTerms
) -> QuerySteps[tuple[Sequence[int], QueueClosed | QueueFull | None]]:
    """Return the times whose jobs may enter their queue (the newest, if there is not room for all), and why the others
    may not.
    """
    try:
        check_open(jobs, terms.closed)
        yield from check_room(jobs, terms.gauges)
    except QueueClosed as refusal:
        return (), refusal
    except QueueFull as refusal:
        room = max(0, refusal.max_depth - refusal.depth)
        return times[len(times) - room :], refusal
    return times, None


@operation
def trigger(
    declared: Declared,
    job: NewJob,
    terms: EntryTerms,
) -> QuerySteps[SubmitResult]:
    """Make a job of a schedule now, whatever its times and whether it is paused.

    `job` is its call with its own id. Raises QueueClosed, QueueFull.
    """
    held = yield from HOLD_SCHEDULE(name=declared.name)
    if not held:
        yield query_rows("declare_schedules", [_as_row(declared)], attended=False)
        held = yield from HOLD_SCHEDULE(name=declared.name)
    now = yield from store_facts.now()
    still_open = yield from _still_open(held[0][0])
    made = job_at(job, _timely(job.id, now), name=declared.name, time=now, policies=Policies())
    [submitted] = yield from entering([made], terms)
    jobs = [*still_open, submitted.id]
    yield from _note(declared.name, declared.policies.overlap, jobs, [submitted.id], now, skipped=0)
    return submitted


def _timely(job: str, now: int) -> str:
    # The same id if this runs again after a lost reply, unless this machine's clock is far from the store's.
    away = ids.milliseconds_of(job) * 1000 - now
    return job if abs(away) < ids.CLOCK_TOLERANCE // 2 else ids.moved_to(job, now)


@operation
def steer(declared: Declared, action: Literal["pause", "resume"]) -> QuerySteps[None]:
    """Pause or resume a schedule; one that no worker has declared yet is entered first."""
    if not (yield from STEERING[action](name=declared.name)):
        yield query_rows("declare_schedules", [_as_row(declared)], attended=False)
        yield from STEERING[action](name=declared.name)
    told: StoreEventName = "schedule_paused" if action == "pause" else "schedule_resumed"
    yield from tell_of_store(told, SteeredSchedule(schedule=declared.name))


@operation
def forget(name: str, *, attended_within: int) -> QuerySteps[bool]:
    """Forget a schedule with the times that it ran for; its jobs stay.

    Returns False if there is none, or if a worker attends to it: it was seen within so many microseconds, and a runner
    is alive.
    """
    forgotten = yield from FORGET_SCHEDULE(name=name, span=attended_within)
    if forgotten:
        yield query("forget_all_fires", name=name)
    return bool(forgotten)


def _still_open(stored: str) -> QuerySteps[list[str]]:
    jobs = msgspec.json.decode(stored, type=list[str])
    if not jobs:
        return []
    rows = yield from STATES_OF([(job,) for job in jobs])
    still_open = {job for job, state in rows if not State(state).is_final}
    return [job for job in jobs if job in still_open]


def _cancel(jobs: Sequence[str]) -> QuerySteps[None]:
    for job in sorted(jobs):
        try:
            yield from do_as_asked(job, "cancel")
        except (JobNotFound, InvalidTransition):  # it ended meanwhile
            continue


def _note(
    name: str, overlap: Overlap, open_jobs: Sequence[str], made: Sequence[str], last_at: int | None, *, skipped: int
) -> QuerySteps[None]:
    """Record the result. If runs may overlap, no process asks which of them are open."""
    kept = [] if overlap == "allow" else list(dict.fromkeys(open_jobs))[-MAX_OPEN:]
    yield query(
        "note_runs",
        name=name,
        last_at=last_at,
        last_job=made[-1] if made else None,
        open_jobs=msgspec.json.encode(kept).decode(),
        skipped=skipped,
    )


def _as_row(declared: Declared) -> Row:
    parts = (declared.timing, declared.policies, declared.call)
    return declared.name, declared.fingerprint, *(msgspec.json.encode(part).decode() for part in parts)
