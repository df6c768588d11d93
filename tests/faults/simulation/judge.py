"""The judge: what must hold after every step of a simulated world, judged by the store before and after it.

It knows the promises of each kind of the application, and not how they are kept. Each check yields sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

from posthorse.rules.job import State
from posthorse.rules.lifecycle import GRAPH
from posthorse.store.operations.fence import Fence
from tests.faults.simulation.actors import Step
from tests.faults.simulation.kinds import IN_SLICES, IN_TRANSACTIONS, ITEMS, SLICE
from tests.faults.simulation.limits import caps, named, overtaken, rates_of, sequence_of
from tests.faults.simulation.snapshot import EMPTY, Job, Snapshot, Standing
from tests.faults.simulation.timetable import Timetable
from tests.faults.simulation.world import WorldClock

MAX_ATTEMPTS = {"ring": 2, "book": 2, "note": 2, "sync": 2, "send": 3}
MAX_CRASHES, MAX_LOSSES = 3, 10
EDGES_AT_ONCE = 3
"""One step may be several transitions: a claim, its end, and what was requested meanwhile."""


class Judge:
    """The judge of every step that changed something."""

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._before = EMPTY
        self._arrivals: dict[str, int] = {}
        """The order in which jobs took their places."""
        self._late: set[str] = set()
        """Jobs that had to wait for their time before they took a place in their sequence, or were retried."""
        self._stepped_aside: set[str] = set()
        """Jobs that were paused before they started; meanwhile others may have taken their turns."""
        self._count = 0
        self._begun: set[str] = set()
        """Jobs that were started and have not come to an end that lets others pass."""
        self._full_until: defaultdict[str, int] = defaultdict(int)
        self._cancelled: set[str] = set()
        self.timetable = Timetable(clock)

    def problems(self, step: Step, after: Snapshot) -> list[str]:
        """Return what is wrong now and was not before."""
        before, self._before = self._before, after
        changed = after.changed(before)
        claimed = sorted((one for one in changed if is_claimed(one, before)), key=lambda one: one.job.seq)
        found = [f"I2: there is no job for {', '.join(after.strange)}"] if after.strange else []
        for one in changed:
            old = before.jobs.get(one.job.id)
            found += [*place(one), *budget(one), *versions(one, old)]
            if old is None:
                found += beginning(one)
            else:
                found += [*fence(one, old), *transition(step, one, old), *not_early(self._clock, one, old)]
                found += effects(one, old, after.effects.get(one.job.id, ()))
            self._note_arrival(one)
        found += [*untouched(step, changed, before), *self._cancels(step, claimed, after)]
        for one in claimed:
            found += [*self._order(one.job, after), *self._rate(one.job), *overtaken(one.job, before, after)]
            self._begun.add(one.job.id)
        return [*found, *uniqueness(after), *caps(after), *self.timetable.problems(before, after)]

    # ── I18 ──────────────────────────────────────────────────────────────────────────────────────────

    def _note_arrival(self, one: Standing) -> None:
        job, now = one.job, one.shown
        if now == "paused" and job.id not in self._begun:
            self._stepped_aside.add(job.id)
        if now in ("completed", "cancelled") or (now == "failed" and passes_dead(job)):
            self._begun.discard(job.id)
            self._arrivals.pop(job.id, None)
            self._late.add(job.id)  # retried, it takes a place as if it arrived then
        elif now == "scheduled" and job.id not in self._arrivals:
            self._late.add(job.id)
        elif now in ("paused", "scheduled") and job.id in self._late - self._begun:
            self._arrivals.pop(job.id, None)  # a job that had to wait for its time has a place only while it waits
        elif now in ("pending", "blocked", "processing") and job.id not in self._arrivals:
            self._arrivals[job.id] = self._count
            self._count += 1

    def _order(self, job: Job, after: Snapshot) -> Iterator[str]:
        """I18: jobs of a sequence run one after the other, in the order in which they took their places."""
        sequence = sequence_of(job)
        if sequence is None:
            return
        for other, _ in sorted(self._arrivals.items(), key=lambda item: item[1]):
            one = after.jobs[other]
            if other == job.id or sequence_of(one.job) != sequence:
                continue
            if one.shown in ("paused", "scheduled") and other not in self._begun:
                continue  # it gave up its turn, until it is resumed or its time comes
            if other in self._begun:
                yield f"I18: {named(job)} began in {sequence} while {named(one.job)} is {one.shown}"
            elif (
                # On SQLite places are moments: a job that arrives after the clock was set back may come before others.
                not self._clock.was_set_back
                and job.id not in self._begun
                and self._arrivals[other] < self._arrivals[job.id]
                # It may have had its turn while that one was paused, and have been held by another limit since.
                and not (other in self._stepped_aside and job.kind == "bill")
            ):
                yield f"I18: {named(job)} began in {sequence} before {named(one.job)}, which was there first"

    # ── I14 ──────────────────────────────────────────────────────────────────────────────────────────

    def _rate(self, job: Job) -> Iterator[str]:
        """I14: claims keep the rate, by the time that passed on the wall clock."""
        for gate, rate in rates_of(job):
            now = self._clock.ticks * 1_000
            full_until = self._full_until[gate] = max(self._full_until[gate], now) + rate.step
            if full_until - now > rate.step * rate.burst:
                yield f"I14: {named(job)} was claimed too early for {gate}: {full_until - now} ns given out"

    # ── I15 ──────────────────────────────────────────────────────────────────────────────────────────

    def _cancels(self, step: Step, claimed: Sequence[Standing], after: Snapshot) -> Iterator[str]:
        for one in claimed:
            if one.job.id in self._cancelled:
                yield f"I15: {named(one.job)} was started again after its cancel was answered"
        if step.asked is not None and step.asked[0] == "cancel":
            self._cancelled.add(step.asked[1])
        self._cancelled = {job for job in self._cancelled if not after.jobs[job].job.is_over}


def place(one: Standing) -> Iterator[str]:
    """I1: each job is in exactly one place, the one that its state requires."""
    job, held, aside = one.job, one.lease is not None, one.parked
    if one.waits + held + (aside is not None) != (0 if job.state in ("completed", "cancelled") else 1):
        yield f"I1: {named(job)} is {job.state}, waits {one.waits} times, is held: {held}, set aside: {aside}"
    elif aside is not None and aside.state != job.state:
        yield f"I1: {named(job)} is {job.state} and set aside as {aside.state}"
    elif one.waits and job.state != "pending":
        yield f"I1: {named(job)} is {job.state} and waits in a lane"


def fence(one: Standing, old: Standing) -> Iterator[str]:
    """I4: epochs rise."""
    if one.fence < old.fence:
        yield f"I4: the epoch of {named(one.job)} fell from {old.fence} to {one.fence}"
    if one.lease is not None and one.lease != old.lease and one.fence <= old.fence:
        yield f"I4: {named(one.job)} was leased under epoch {one.fence}, which is not new"


def untouched(step: Step, changed: Sequence[Standing], before: Snapshot) -> Iterator[str]:
    """I5: a runner that does not hold a job changes nothing of it, and a write about one job touches no other."""
    if step.attempts:
        standing = {attempt for attempt in step.attempts if _stands(attempt, before)}
        touched = {attempt.job for attempt in standing}
        for one in changed:
            if one.job.id not in touched:
                old = before.jobs.get(one.job.id)
                yield f"I5: {named(one.job)} was changed by attempts that do not hold it: {old} became {one}"


def beginning(one: Standing) -> Iterator[str]:
    """I7: jobs come into being as the graph says."""
    if one.shown not in ("pending", "scheduled"):
        yield f"I7: {named(one.job)} began as {one.shown}"


def versions(one: Standing, old: Standing | None) -> Iterator[str]:
    """I20: versions rise, and each event has one."""
    version = one.job.version
    if len(set(one.events)) != len(one.events) or max(one.events, default=0) > version:
        yield f"I20: {named(one.job)} is at version {version} and has events {one.events}"
    if old is not None and version < old.job.version:
        yield f"I20: the version of {named(one.job)} fell from {old.job.version} to {version}"
    if (
        old is not None and one.events[: max(0, len(old.events) - 1)] != old.events[:-1]
    ):  # a series replaces its last one
        yield f"I20: the events of {named(one.job)} were {old.events} and are {one.events}"


def transition(step: Step, one: Standing, old: Standing) -> Iterator[str]:
    """I6, I7: states follow the published graph, and final states are left only on request."""
    was, now = State(old.shown), State(one.shown)
    if now not in reached_from(was):
        yield f"I7: {named(one.job)} went from {was.value} to {now.value}"
    if was.is_final and was is not now and (step.asked is None or step.asked[1] != one.job.id):
        yield f"I6: {named(one.job)} left its end {was.value} for {now.value}, and nobody asked for it"
    if was.is_final and was is now and old.job.result != one.job.result:
        yield f"I6: {named(one.job)} was {was.value} and got another result"


def not_early(clock: WorldClock, one: Standing, old: Standing) -> Iterator[str]:
    """I10: no job becomes pending before its time, unless it was requested."""
    due = None if old.parked is None or old.job.state == "paused" else old.parked.due_at
    if due is not None and one.job.state == "pending" and one.job.run_at == old.job.run_at and due > clock.now():
        yield f"I10: {named(one.job)} was lined up {due - clock.now()} µs before its time"


def budget(one: Standing) -> Iterator[str]:
    """I8: a job has no more errors, crashes and interruptions than it may have."""
    job, most = one.job, MAX_ATTEMPTS.get(one.job.kind, 5)
    if job.errors > most or job.crashes > MAX_CRASHES or job.interruptions > MAX_LOSSES:
        yield f"I8: {named(job)} is {job.state} with {job.errors}, {job.crashes}, {job.interruptions} spent"
    elif job.errors == most and not job.is_over:
        yield f"I8: {named(job)} is {job.state} and has no attempt left"


def effects(one: Standing, old: Standing, items: Sequence[int]) -> Iterator[str]:
    """I9: effects of long jobs match their cursors: exactly, or with at most one slice repeated for each attempt."""
    job, done = one.job, 0 if one.checkpoint is None else one.checkpoint.done
    if old.checkpoint is not None and done < old.checkpoint.done:
        yield f"I9: the cursor of {named(job)} went back from {old.checkpoint.done} to {done}"
    if job.kind == IN_TRANSACTIONS and sorted(items) != list(range(done)):
        yield f"I9: {named(job)} is at {done} and did {items}"
    if job.kind == IN_SLICES:
        if not set(range(done)) <= set(items):
            yield f"I9: {named(job)} is at {done} and did no more than {items}"
        if len(items) - len(set(items)) > SLICE * max(0, one.fence - 1):
            yield f"I9: {named(job)} did {items} in {one.fence} attempts"
    if job.kind in (IN_TRANSACTIONS, IN_SLICES) and job.state == "completed" and done != ITEMS:
        yield f"I9: {named(job)} completed at {done} of {ITEMS}"


def uniqueness(after: Snapshot) -> Iterator[str]:
    """I17, I19: one job for a time of a schedule, one for an identity."""
    seen: dict[tuple[object, ...], Job] = {}
    for one in after.jobs.values():
        job = one.job
        names: list[tuple[object, ...]] = []
        if job.kind == "report" and job.options.scheduled_at is not None:
            names.append(("I17", job.options.schedule, job.options.scheduled_at))
        if job.kind == "sync" and not job.is_over:
            names.append(("I19", "sync", job.given["user"]))
        if job.kind == "poll" and not job.is_over and one.fence == 0:
            names.append(("I19", "poll", job.given["user"]))
        for name in names:
            if name in seen:
                invariant, *words = name
                yield f"{invariant}: {named(seen[name])} and {named(job)} are the same: {words}"
            seen[name] = job


def is_claimed(one: Standing, before: Snapshot) -> bool:
    """Return whether a job was claimed in this step."""
    old = before.jobs.get(one.job.id)
    return one.lease is not None and (old is None or old.lease != one.lease)


def passes_dead(job: Job) -> bool:
    """Return whether the jobs behind a job go on if it is a dead letter."""
    return job.kind == "note"


@cache
def reached_from(state: State) -> frozenset[State]:
    """Return the states in which a job may be one step later."""
    reached = {state}
    for _ in range(EDGES_AT_ONCE):
        reached |= {later for one in reached for later in GRAPH[one]}
    return frozenset(reached)


def _stands(attempt: Fence, before: Snapshot) -> bool:
    lease = before.jobs[attempt.job].lease
    return lease is not None and lease.epoch == attempt.epoch
