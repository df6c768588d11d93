"""A model of the whole life of jobs: random operations on a real SQLite store, checked against it after every step.

The model is a dictionary of jobs with what a user may know of them. It proves invariants of the catalogue in the tests
of durability: no job is lost (I1) or appears from nowhere (I2), one job per key (I3), one lease per job and growing
fences (I4), nothing is written under an old fence (I5), one end per generation (I6), transitions as published (I7),
budgets (I8), nothing starts early (I10), and counts match the rows (I23).
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from posthorse import ids
from posthorse.clock import Clock
from posthorse.errors import InvalidTransition, KeyConflict
from posthorse.rules.job import JobError, Lane, NewJob, State
from posthorse.rules.lifecycle import GRAPH, Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Lost, Outcome, Raised, Stopped, Unfit
from posthorse.rules.requests import Request
from posthorse.rules.retry import as_backoff
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint, load_checkpoint
from posthorse.store.operations.claim import Probe, claim, give_back
from posthorse.store.operations.control import request
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement, complete, settle
from posthorse.store.operations.runners import (
    Runner,
    beat,
    orphans,
    promote,
    register,
    requests_for,
    rescue_expired,
    retire,
)
from posthorse.store.operations.submit import enqueue
from posthorse.store.store import Store

LEASE = 30_000_000
LANES = (Lane("mail", "letter", 0), Lane("mail", "letter", 5), Lane("video", "film", 0))
POLICY = Policy(max_attempts=3, max_crashes=2, max_interruptions=3, backoff=as_backoff("10s"))
ERROR = JobError(type="ValueError", message="no good")
OUTCOMES: tuple[Outcome, ...] = (
    Raised(ERROR),
    Stopped("pause"),
    Stopped("cancel"),
    Stopped("shutdown"),
    Stopped("yield"),
    Crashed("segfault", alone=True),
    Crashed("segfault", alone=False),
    Unfit("of another time"),
)


class StillClock(Clock):
    """A clock that moves only on request, so that a run can be repeated exactly."""

    def now(self) -> int:
        return _START + self.shift

    boot_now = now


_START = Clock().now()


@dataclass
class Known:
    """What the model knows of one job. `state` is never `processing`: `holder` says that."""

    id: str
    lane: Lane
    state: State
    due: int | None = None
    epoch: int = 0
    version: int = 1
    spent: Spent = field(default_factory=Spent)
    holder: str | None = None
    asked: str | None = None
    asked_of: str | None = None
    slices: int = 0
    has_checkpoint: bool = False
    advanced_in: int | None = None
    is_solo: bool = False
    place: int = 0
    """Its place among all jobs that ever waited in its lane."""

    @property
    def shown(self) -> State:
        return State.PROCESSING if self.holder is not None else self.state


@dataclass(frozen=True)
class Held:
    """What a worker believes that it holds; it may be wrong."""

    job: str
    epoch: int
    runner: str


class JobLife(RuleBasedStateMachine):
    attempts = Bundle("attempts")
    """Attempts that some worker believes in, valid or not."""

    def __init__(self) -> None:
        super().__init__()
        # In memory if the system offers that: the tests prove logic, not durability.
        self.folder = tempfile.mkdtemp(dir=next((place for place in ("/dev/shm",) if Path(place).is_dir()), None))
        self.clock = StillClock()
        self.store = Store(f"sqlite:///{self.folder}/jobs.db", clock=self.clock)
        self.jobs: dict[str, Known] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.runners: dict[str, int] = {}  # alive by the list: id to the moment at which its lease ends, at the latest
        self.highest_epoch: dict[str, int] = {}
        self.places = itertools.count(1)
        self.shown: dict[str, State] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize()
    def open(self) -> None:
        self.store.migrate()
        self.lanes = self.store.lanes(set(LANES) | {replace_solo(lane) for lane in LANES})
        self.hire()

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.runners) < 3)
    @rule()
    def hire(self) -> None:
        runner = str(uuid.uuid4())
        self.store.run(register(Runner(runner, "w", "h", 1, "0", 10, (), ()), lease=LEASE))
        self.runners[runner] = self.clock.boot_now() + LEASE

    @precondition(lambda self: self.runners)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        runner = self.one_of(data, self.runners)
        answer = self.store.run(beat(runner, lease=LEASE, running=0, draining=False))
        assert answer.is_alive
        self.runners[runner] = self.clock.boot_now() + LEASE
        asked = {job.id: job.asked for job in self.jobs.values() if job.asked_of == runner and job.asked}
        assert self.store.read(requests_for(runner)).of_jobs == asked

    @precondition(lambda self: self.runners)
    @rule(data=st.data())
    def sign_off(self, data: st.DataObject) -> None:
        runner = self.one_of(data, self.runners)
        self.store.run(retire(runner))
        del self.runners[runner]

    @rule(target=attempts, room=st.integers(1, 4), data=st.data())
    def claim(self, room: int, data: st.DataObject) -> object:
        runner = self.one_of(data, self.runners or {"00000000-0000-4000-8000-000000000000"})
        wanted = data.draw(st.sets(st.sampled_from(sorted(self.lanes, key=repr)), min_size=1))
        probes = sorted(
            (Probe(self.lanes[lane], 0, lane.priority) for lane in wanted), key=lambda probe: -probe.priority
        )
        claimed = self.store.run(claim(runner, probes, room))
        is_alive = runner in self.runners and self.runners[runner] > self.clock.boot_now()
        waiting = [job for job in self.jobs.values() if self.is_ready(job) and self.lane_of(job) in wanted]
        if not is_alive:
            assert claimed == []
            return multiple()
        assert len(claimed) == min(room, len(waiting))
        best = sorted(-job.lane.priority for job in waiting)[: len(claimed)]
        assert sorted(-self.jobs[got.job].lane.priority for got in claimed) == best
        held: list[Held] = []
        for got in claimed:
            job = self.jobs[got.job]
            ahead = [other for other in waiting if self.lane_of(other) == self.lane_of(job) and other.place < job.place]
            assert all(other.holder is not None or other in [self.jobs[g.job] for g in claimed] for other in ahead)
            assert job.due is None or job.due <= self.clock.now()
            assert got.epoch > self.highest_epoch.get(job.id, 0)
            assert (got.errors, got.crashes, got.interruptions) == (
                job.spent.errors,
                job.spent.crashes,
                job.spent.interruptions,
            )
            self.highest_epoch[job.id] = got.epoch
            job.epoch, job.holder = got.epoch, runner
            held.append(Held(got.job, got.epoch, runner))
        return multiple(*held)

    # ── users ────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        lane=st.sampled_from(LANES),
        delay=st.sampled_from([None, 0, 5_000_000, 40_000_000]),
        count=st.integers(1, 3),
    )
    def enqueue(self, lane: Lane, delay: int | None, count: int) -> None:
        fresh = [NewJob(id=job_id, lane=lane, arguments="{}", delay=delay) for job_id in ids.new_ids(count)]
        before = self.clock.now()
        submitted = self.store.run(enqueue(fresh, self.lanes))
        assert [(one.id, one.created) for one in submitted] == [(job.id, True) for job in fresh]
        for job in fresh:
            self.add(job, before)

    @rule(key=st.sampled_from("ab"), arguments=st.sampled_from(["{}", '{"n":1}']), lane=st.sampled_from(LANES))
    def enqueue_with_key(self, key: str, arguments: str, lane: Lane) -> None:
        job = NewJob(id=ids.new_id(), lane=lane, arguments=arguments, key=key, fingerprint=arguments)
        owner = self.keys.get((lane.kind, key))
        before = self.clock.now()
        try:
            (submitted,) = self.store.run(enqueue([job], self.lanes))
        except KeyConflict:
            assert owner is not None
            assert owner[1] != arguments
            return
        if owner is None:
            assert submitted == (job.id, True)
            self.keys[lane.kind, key] = job.id, arguments
            self.add(job, before)
        else:
            assert owner == (submitted.id, arguments)
            assert not submitted.created

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), action=st.sampled_from(["pause", "resume", "cancel", "retry"]), force=st.booleans())
    def ask(self, data: st.DataObject, action: Request, force: bool) -> None:
        job = self.jobs[self.one_of(data, self.jobs)]
        try:
            answer = self.store.run(request(job.id, action, force=force))
        except InvalidTransition:
            assert not self.is_allowed(job, action)
            return
        assert self.is_allowed(job, action)
        if job.holder is not None:
            self.ask_held(job, action, answer, force=force)
            return
        before = job.state
        self.act(job, action)
        assert answer is job.state
        assert before is job.state or job.state in GRAPH[before]

    @rule(seconds=st.sampled_from([1, 4, 9, 20, 31]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    # ── attempts, and those that are none any more ───────────────────────────────────────────────────

    @rule(held=consumes(attempts))
    def finish(self, held: Held) -> None:
        refused = self.store.run(complete(held.runner, [Completion(held.job, held.epoch, '"done"')])).refused
        job = self.jobs[held.job]
        if not self.stands(held):
            was_ours = job.state is State.COMPLETED and job.epoch == held.epoch
            assert refused == ([] if was_ours else [held.job])
            return
        assert refused == []
        self.release(job)
        job.state = State.COMPLETED

    @rule(held=consumes(attempts), outcome=st.sampled_from(OUTCOMES))
    def end(self, held: Held, outcome: Outcome) -> None:
        job = self.jobs[held.job]
        spent = Spent(job.spent.errors) if job.advanced_in == held.epoch else job.spent
        transition = decide(spent, outcome, POLICY)
        attempt = Fence(held.job, held.epoch, held.runner)
        applied = self.store.run(settle(Settlement(attempt, transition, job.lane)))
        if not self.stands(held):
            # Nothing was written; True only says that this very attempt was ended in the same way.
            assert applied in (False, job.state is transition.state)
            return
        assert applied
        self.settle(job, transition.state, transition.spent, transition.wait, is_solo=transition.solo)

    @rule(held=attempts)
    def commit_slice(self, held: Held) -> None:
        job = self.jobs[held.job]
        at = Checkpoint(job.slices + 1, None, "[]", None, "{}", "{}")
        saved = self.store.run(checkpoint(Fence(held.job, held.epoch, held.runner), at))
        if not self.stands(held):
            assert saved is None
            return
        assert saved is not None
        job.slices += 1
        job.has_checkpoint, job.advanced_in = True, held.epoch
        slices = self.store.read(load_checkpoint(held.job)).slices
        assert (slices, saved.request) == (job.slices, job.asked)

    @rule(held=consumes(attempts))
    def give_back(self, held: Held) -> None:
        job = self.jobs[held.job]
        self.store.run(give_back(held.runner, [(held.job, held.epoch)]))
        if not self.stands(held):
            return
        asked = job.asked
        job.holder = job.asked = job.asked_of = None
        if asked is not None:
            self.act(job, asked)

    # ── chores ───────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def sweep(self) -> None:
        rescued = {runner for runner, _ in self.store.run(rescue_expired(grace=0))}
        now = self.clock.boot_now()
        assert all(self.runners[runner] <= now for runner in rescued)
        for runner in rescued:
            del self.runners[runner]
        lost = self.store.read(orphans(100))
        expected = {job.id for job in self.jobs.values() if job.holder is not None and job.holder not in self.runners}
        assert {held.job for held in lost} == expected
        for held in lost:
            job = self.jobs[held.job]
            spent = Spent(job.spent.errors) if job.advanced_in == held.epoch else job.spent
            assert held.spent == spent
            transition = decide(held.spent, Lost("silent"), POLICY)
            attempt = Fence(held.job, held.epoch, held.runner)
            assert self.store.run(settle(Settlement(attempt, transition, held.lane)))
            self.settle(job, transition.state, transition.spent, transition.wait, is_solo=transition.solo)
        for job in self.jobs.values():  # stale requests go with the dead
            if job.holder is None:
                job.asked = job.asked_of = None

    @rule()
    def promote(self) -> None:
        now = self.clock.now()
        moved = self.store.run(promote(100))
        due = [
            job
            for job in self.jobs.values()
            if job.holder is None and job.state in (State.SCHEDULED, State.BLOCKED) and job.due is not None
        ]
        certain = [job for job in due if job.due is not None and job.due <= now]
        assert moved == len(certain)
        for job in sorted(certain, key=lambda job: (job.due, job.id)):
            job.state, job.place = State.PENDING, next(self.places)

    # ── what must always be so ───────────────────────────────────────────────────────────────────────

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "lanes"):
            return
        with self.store.transaction() as connection:
            execute = connection.execute  # type: ignore[attr-defined]  # a sqlite3.Connection
            columns = "id, state, epoch, errors, crashes, losses"
            stored = {row[0]: row[1:] for row in execute(f"SELECT {columns} FROM posthorse_jobs")}
            ready = [row[0] for row in execute("SELECT job FROM posthorse_ready ORDER BY lane, seq")]
            leases = dict(execute("SELECT job, runner FROM posthorse_leases"))
            parked = dict(execute("SELECT job, state FROM posthorse_parked"))
            columns = "job, count(*), count(DISTINCT version), max(version)"
            events = list(execute(f"SELECT {columns} FROM posthorse_events GROUP BY job"))
            versions = dict(execute("SELECT id, version FROM posthorse_jobs"))
        assert stored.keys() == self.jobs.keys()
        assert len(ready) == len(set(ready))
        for job in self.jobs.values():
            state, epoch, *spent = stored[job.id]
            places = (job.id in ready) + (job.id in leases) + (job.id in parked)
            if job.holder is not None:
                assert leases[job.id] == job.holder
            else:
                assert state == job.state, job
                assert epoch <= job.epoch
                assert Spent(*spent) == job.spent
            assert (job.id in ready) == self.is_ready(job)
            is_parked = job.holder is None and job.state in (State.SCHEDULED, State.BLOCKED, State.PAUSED, State.FAILED)
            assert parked.get(job.id) == (job.state.value if is_parked else None)
            assert places == (0 if job.holder is None and job.state in (State.COMPLETED, State.CANCELLED) else 1)
            assert job.spent.errors <= POLICY.max_attempts
            assert job.spent.crashes <= POLICY.max_crashes
        for name, count, distinct, highest in events:
            assert count == distinct
            assert highest <= versions[name]

    @invariant()
    def lanes_keep_their_order(self) -> None:
        if not hasattr(self, "lanes"):
            return
        with self.store.transaction() as connection:
            execute = connection.execute  # type: ignore[attr-defined]  # a sqlite3.Connection
            lined_up: dict[int, list[str]] = {}
            for lane, job in execute("SELECT lane, job FROM posthorse_ready ORDER BY lane, seq"):
                lined_up.setdefault(lane, []).append(job)
        for lane, number in self.lanes.items():
            expected = [job for job in self.jobs.values() if self.is_ready(job) and self.lane_of(job) == lane]
            assert lined_up.get(number, []) == [job.id for job in sorted(expected, key=lambda job: job.place)]

    @invariant()
    def time_passes(self) -> None:
        self.clock.advance(timedelta(milliseconds=1))

    @invariant()
    def every_transition_is_published(self) -> None:
        for job in self.jobs.values():
            before = self.shown.get(job.id)
            assert before in (None, job.shown) or reaches(before, job.shown), (before, job.shown)
            self.shown[job.id] = job.shown

    # ── the model ────────────────────────────────────────────────────────────────────────────────────

    def add(self, new: NewJob, before: int) -> None:
        is_late = bool(new.delay)
        self.jobs[new.id] = Known(
            new.id,
            new.lane,
            State.SCHEDULED if is_late else State.PENDING,
            due=None if new.delay is None else before + new.delay,
            place=next(self.places),
        )

    def one_of(self, data: st.DataObject, names: Collection[str]) -> str:
        """Return one of them by its place, because the names are drawn again in every run."""
        return list(names)[data.draw(st.integers(0, len(names) - 1))]

    def is_ready(self, job: Known) -> bool:
        return job.state is State.PENDING and job.holder is None

    def lane_of(self, job: Known) -> Lane:
        return replace_solo(job.lane) if job.is_solo else job.lane

    def stands(self, held: Held) -> bool:
        job = self.jobs[held.job]
        return job.holder == held.runner and job.epoch == held.epoch

    def is_allowed(self, job: Known, action: str) -> bool:
        if job.holder is not None:
            return action != "retry"
        match action:
            case "pause":
                return job.state is State.PAUSED or State.PAUSED in GRAPH[job.state]
            case "cancel":
                return job.state is State.CANCELLED or State.CANCELLED in GRAPH[job.state]
            case "resume":
                return not job.state.is_final
            case _:
                return job.state in (State.FAILED, State.CANCELLED)

    def ask_held(self, job: Known, action: Request, answer: State, *, force: bool) -> None:
        if force and action in ("pause", "cancel"):
            self.release(job)
            job.state = State.PAUSED if action == "pause" else State.CANCELLED
            job.asked = job.asked_of = None
            assert answer is job.state
            return
        assert answer is State.PROCESSING
        if action == "resume":
            if job.asked == "pause":
                job.asked = job.asked_of = None
        else:
            job.asked = "cancel" if "cancel" in (job.asked, action) else action
            job.asked_of = job.holder

    def act(self, job: Known, action: str) -> None:
        """Make a request about a job that no worker runs."""
        match action:
            case "pause":
                job.state = State.PAUSED
            case "cancel":
                job.state = State.CANCELLED
            case "resume" if job.state is State.PAUSED:
                is_late = job.due is not None and job.due > self.clock.now()
                job.state = State.SCHEDULED if is_late else State.PENDING
                job.place = next(self.places)
            case "retry":
                job.state, job.spent, job.is_solo = State.PENDING, Spent(), False
                job.asked = job.asked_of = None
                job.epoch += 1
                job.due = None  # asked for by hand, it starts now
                self.highest_epoch[job.id] = job.epoch
                job.place = next(self.places)

    def release(self, job: Known) -> None:
        job.holder = None

    def settle(self, job: Known, state: State, spent: Spent, wait: int | None, *, is_solo: bool) -> None:
        now = self.clock.now()
        asked = job.asked
        self.release(job)
        if state is not State.FAILED:  # requests too late for a dead letter are swept, or removed by a retry
            job.asked = job.asked_of = None
        job.state, job.spent, job.is_solo = state, spent, is_solo
        job.due = job.due if wait is None else now + wait
        if state is State.PENDING:
            job.place = next(self.places)
        if asked is not None and not state.is_final:
            self.act(job, asked)
        elif asked is None and state is State.PAUSED:
            self.act(job, "resume")


def replace_solo(lane: Lane) -> Lane:
    return Lane(lane.queue, lane.kind, lane.priority, solo=True)


def reaches(before: State | None, after: State) -> bool:
    """Return whether one step can lead there, of up to three transitions: a claim, its end, and what was asked."""
    reached = {before}
    for _ in range(3):
        reached |= {later for state in reached if state is not None for later in GRAPH[state]}
    return after in reached


def run(examples: int, steps: int, *, derandomize: bool) -> None:
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        ),
    )


@pytest.mark.timeout(400)  # a failing example is first made smaller, which takes a while
def test_every_job_lives_as_published() -> None:
    run(100, 60, derandomize=True)


@pytest.mark.soak
def test_every_job_lives_as_published_for_a_long_time() -> None:
    run(3000, 100, derandomize=False)
