"""A yard: a store with what its tests do all the time, in few words."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from posthorse import ids
from posthorse.clock import SECOND
from posthorse.rules.events import Event
from posthorse.rules.job import JobError, Lane, NewJob, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Outcome, Raised
from posthorse.rules.requests import Request
from posthorse.rules.timeline import tell
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.operations import checkpoints, claim, control, finish, read, runners, submit
from posthorse.store.operations.checkpoints import Checkpoint
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion
from posthorse.store.postgres.connections import channel_of
from posthorse.store.store import Store

HOME = Lane("default", "work")
LEASE = 30 * SECOND


class Yard:
    """One store, as clients, workers and operators use it."""

    def __init__(self, url: str, *, schema: str = "posthorse", tuning: Tuning = DEFAULTS) -> None:
        self.store = Store(url, schema=schema, tuning=tuning)
        self.channel = channel_of(schema)
        """The channel on which a PostgreSQL store notifies."""

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────────────

    def new(
        self,
        count: int = 1,
        lane: Lane = HOME,
        *,
        arguments: str = "{}",
        key: str | None = None,
        delay: int | None = None,
        run_at: int | None = None,
    ) -> list[NewJob]:
        return [
            NewJob(
                id,
                lane,
                arguments,
                delay=delay,
                run_at=run_at,
                key=key,
                fingerprint=arguments if key is not None else None,
            )
            for id in ids.new_ids(count)
        ]

    def submit(self, jobs: Sequence[NewJob]) -> list[submit.SubmitResult]:
        lanes = self.store.lanes({job.lane for job in jobs})
        return self.store.run(submit.enqueue(jobs, lanes))

    def enqueue(self, count: int = 1, lane: Lane = HOME, *, delay: int | None = None) -> list[str]:
        return [answer.id for answer in self.submit(self.new(count, lane, delay=delay))]

    # ── work ─────────────────────────────────────────────────────────────────────────────────────────

    def runner(
        self, *, kinds: Sequence[str] = ("work",), queues: Sequence[str] = ("default",), lease: int = LEASE
    ) -> str:
        id = str(uuid.uuid4())
        runner = runners.Runner(id, "worker-1", "here", 4711, "0", 10, queues, kinds)
        self.store.run(runners.register(runner, lease=lease))
        return id

    def probe(self, lane: Lane = HOME, *, after: int = 0) -> Probe:
        return Probe(self.store.lanes({lane})[lane], after, lane.priority)

    def claim(self, runner: str, room: int = 1, lanes: Sequence[Lane] = (HOME,), *, after: int = 0) -> list[Claimed]:
        probes = [self.probe(lane, after=after) for lane in lanes]
        return self.store.run(claim.claim(runner, probes, room))

    def claim_one(self, runner: str | None = None, lane: Lane = HOME) -> Fence:
        runner = runner or self.runner()
        [claimed] = self.claim(runner, 1, [lane])
        return Fence(claimed.job, claimed.epoch, runner)

    def started(self, lane: Lane = HOME) -> Fence:
        """Enqueue and claim a new job."""
        self.enqueue(1, lane)
        return self.claim_one(lane=lane)

    def complete(self, *attempts: Fence, result: str = "null") -> list[str]:
        """Complete attempts; return those that were refused."""
        refused: list[str] = []
        for runner in dict.fromkeys(attempt.runner for attempt in attempts):
            ended = [Completion(each.job, each.epoch, result) for each in attempts if each.runner == runner]
            refused += self.store.run(finish.complete(runner, ended)).refused
        return refused

    def give_back(self, *attempts: Fence) -> None:
        """Give back attempts of one runner."""
        unbegun = [(attempt.job, attempt.epoch) for attempt in attempts]
        self.store.run(claim.give_back(attempts[0].runner, unbegun))

    def settle(
        self,
        attempt: Fence,
        outcome: Outcome,
        *,
        spent: Spent | None = None,
        policy: Policy | None = None,
        cause: str | None = None,
    ) -> bool:
        transition = decide(spent or Spent(), outcome, policy or Policy())
        return self.store.run(finish.settle(finish.Settlement(attempt, transition, HOME, cause=cause)))

    def fail(self, attempt: Fence, *, attempts: int = 1) -> bool:
        return self.settle(attempt, Raised(JobError("ValueError", "no")), policy=Policy(max_attempts=attempts))

    def checkpoint(self, attempt: Fence, done: int = 1, *, is_slice: bool = True) -> tuple[int, str | None] | None:
        """Save a checkpoint; return the slices committed so far, and the request for the job; None if refused."""
        saved = self.store.run(checkpoints.checkpoint(attempt, standing(done), is_slice=is_slice))
        return (
            None if saved is None else (self.store.read(checkpoints.load_checkpoint(attempt.job)).slices, saved.request)
        )

    # ── control and reading ──────────────────────────────────────────────────────────────────────────

    def ask(self, job: str, action: Request, *, force: bool = False) -> State:
        return self.store.run(control.request(job, action, force=force))

    def job(self, id: str) -> read.JobRow:
        row = self.store.read(read.job(id))
        assert row is not None
        return row

    def state(self, id: str) -> State:
        return State(self.job(id).state)

    def events(self, id: str) -> list[str]:
        return [event.name for event in self.store.read(read.events(id))]

    def timeline(self, id: str, after: int = 0) -> list[Event]:
        """Return the timeline of a job, which must have every number."""
        stored = self.store.read(read.timeline(id, after=after))
        assert stored is not None
        told = tell(stored.facts, stored.evidence, after)
        covered = [number for event in told for number in range(event.number - event.covers + 1, event.number + 1)]
        end = stored.facts.version + (stored.facts.claimed_at is not None)
        assert covered == list(range(after + 1, end + 1))
        return told

    def told(self, id: str) -> str:
        """Return the names of a timeline."""
        return " ".join(event.name for event in self.timeline(id))

    def waiting(self) -> int:
        return sum(depth.waiting for depth in self.store.read(read.depths()))

    def rescue_expired(self) -> list[str]:
        """Rescue the jobs of dead runners; return the ids of these runners."""
        return [id for id, _worker in self.store.run(runners.rescue_expired(grace=0))]

    def promote(self, limit: int = 100) -> int:
        return self.store.run(runners.promote(limit))

    def pass_time(self, **span: float) -> None:
        self.store.clock.advance(timedelta(**span))

    # ── what must always hold ────────────────────────────────────────────────────────────────────────

    def audit(self) -> None:
        """Check that every job is in exactly one place, the one that its state requires."""
        table = self.store.backend.dialect.table
        with self.store.transaction() as connection:
            jobs, ready, leases, parked = (
                cast("Any", connection).execute(f"SELECT {columns} FROM {table(name)}").fetchall()
                for name, columns in (
                    ("jobs", "id, state, lane"),
                    ("ready", "job"),
                    ("leases", "job"),
                    ("parked", "job, state, lane"),
                )
            )
        waiting = Counter(str(job) for (job,) in ready)
        assert set(waiting.values()) <= {1}, "a job waits twice"
        held = {str(job) for (job,) in leases}
        aside = {str(job): state for job, state, _ in parked}
        lanes = {str(job): lane for job, _, lane in jobs}
        assert waiting.keys() | held | aside.keys() <= lanes.keys()
        assert all(lane == lanes[str(job)] for job, _, lane in parked), "a parked job names another lane, or none"
        for job, state, _ in jobs:
            places = (str(job) in waiting, str(job) in held, aside.get(str(job)))
            if state in ("completed", "cancelled"):
                expected = [(False, False, None)]
            elif state in ("scheduled", "blocked", "paused", "failed"):
                expected = [(False, False, state), (False, True, None)]
            else:
                expected = [(True, False, None), (False, True, None)]
            assert places in expected, f"{job} is {state} and lies in {places}"


def standing(done: int) -> Checkpoint:
    return Checkpoint(done, 10, f"[{done}]", "note", f'{{"at":{done}}}', "{}")
