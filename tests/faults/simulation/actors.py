"""Actors of a simulated world: clients and runners. Each turn is one step.

They use the project's own code wherever it works without an event loop of its own: the claims of a worker, the slices
of a long job. The rest of a runner is here: it holds what it claimed, ends it somehow, and may die, stall, or come back
when it is no longer expected.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.errors import InvalidTransition, JobNotFound, KeyConflict, NotUnique
from posthorse.rules.job import JobError
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Expired, Outcome, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.requests import Request
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint
from posthorse.store.operations.claim import give_back
from posthorse.store.operations.control import request
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement, complete, settle
from posthorse.store.operations.gates import let_through
from posthorse.store.operations.runners import Runner, beat, held_by, register, requests_for, retire
from posthorse.worker.base.live_queues import LiveQueues
from posthorse.worker.claiming.claim_values import ClaimedJob, ClaimRequest
from posthorse.worker.claiming.claiming import Claiming
from tests.faults.simulation.kinds import IN_SLICES, IN_TRANSACTIONS, Focus, application, drawn_calls
from tests.faults.simulation.walks import Walk
from tests.faults.simulation.world import World, at_once

LEASE = 30 * SECOND
BEATS_INTERVAL = 8 * SECOND
ROOM = 4
ERROR = JobError("ValueError", "no good")


class Step(NamedTuple):
    """What an actor did, for the judge."""

    text: str
    attempts: Sequence[Fence] = ()
    """The step wrote about these attempts, and about nothing else."""
    asked: tuple[Request, str] | None = None
    """A request about a job that the step made and that was granted."""


class Client:
    """A client, which enqueues jobs and steers them."""

    def __init__(self, world: World, focus: Focus) -> None:
        self._world = world
        self._focus = focus

    def enqueue(self) -> Step:
        """Submit something."""
        calls = drawn_calls(self._world.chance, self._focus)
        words = ", ".join(f"{call.template.lane.kind}{call.template.arguments}" for call in calls)
        try:
            jobs = application().enqueue_many(calls)
        except (KeyConflict, NotUnique) as error:
            return Step(f"enqueue {words}: {type(error).__name__}")
        return Step(f"enqueue {words}: {' '.join(short(job.id) for job in jobs)}")

    def steer(self, jobs: Sequence[str]) -> Step:
        """Make some request about some job."""
        chance = self._world.chance
        actions: list[Request] = ["pause", "resume", "resume", "cancel", "retry", "retry", "discard"]
        return self.ask(chance.choice(jobs), chance.choice(actions), force=chance.random() < 0.3)

    def ask(self, job: str, action: Request, *, force: bool = False) -> Step:
        """Make this request about this job."""
        text = f"{action} {short(job)}{' by force' if force else ''}"
        try:
            answer = self._world.store.run(request(job, action, force=force))
        except (InvalidTransition, JobNotFound) as error:
            return Step(f"{text}: {type(error).__name__}")
        return Step(f"{text}: {answer.value}", asked=(action, job))


class VirtualRunner:
    """A runner: alive until its jobs are rescued, perhaps stalled for a while, and then a zombie that does not know
    it."""

    def __init__(self, world: World, name: str, *, room: int = ROOM) -> None:
        self.name = name
        self._room = room
        self.id = world.new_runner()
        self.beat_at = world.clock.boot_now()
        self.is_stalled = False
        self.is_gone = False
        self._world = world
        self._held: dict[str, ClaimedJob] = {}
        self._runs_suspect = False
        self._begun: set[str] = set()
        self._asked: dict[str, str] = {}
        self._walks: dict[str, Walk] = {}
        """Long jobs that have begun."""
        self._advanced: dict[str, int] = {}
        self._left: list[Sequence[str]] = []
        runner = Runner(self.id, name, "here", 1, "0", room, [], [])
        world.store.run(register(runner, lease=LEASE))
        app = application()
        self._claiming = Claiming(
            world.store,
            app.registry,
            runner,
            LiveQueues(world.store, app.registry.queues),
            suspects="when empty",
            only=None,
        )

    @property
    def must_beat(self) -> bool:
        """Whether it should send a heartbeat."""
        return not self.is_stalled and self._world.clock.boot_now() - self.beat_at >= BEATS_INTERVAL

    @property
    def holds_some(self) -> bool:
        """Whether it holds any job, or believes so."""
        return bool(self._held)

    @property
    def is_overdue(self) -> bool:
        """Whether its lease is over, unless it was renewed."""
        return self._world.clock.boot_now() - self.beat_at > LEASE

    def turn(self) -> Step:
        """Do something."""
        chance = self._world.chance
        if self.is_stalled and self._held:
            return self._go_on(chance)
        if self._left and chance.random() < 0.5:
            return self.leave()
        if self._runs_suspect or len(self._held) >= self._room or (self._held and chance.random() < 0.6):
            return self._go_on(chance)
        return self.claim()

    def claim(self) -> Step:
        """Claim as much as it has room for."""
        room = self._room - len(self._held)
        request = ClaimRequest(room, limited_room=room, is_empty=not self._held, is_woken=False)
        claim = at_once(self._claiming.claim(request))
        self._runs_suspect = claim.is_suspect
        for job in claim.jobs:
            self._held[job.claimed.job] = job
            if self._world.chance.random() < 0.7:
                self._begin(job.claimed.job)
        return self._told("claims", *(f"{short(job.claimed.job)}/{job.claimed.epoch}" for job in claim.jobs))

    def beat(self) -> Step:
        """Renew its lease; a runner that was given up for dead stops, unless it is a zombie."""
        self.beat_at = self._world.clock.boot_now()
        answer = self._world.store.run(beat(self.id, lease=LEASE, running=len(self._held), draining=False))
        self._asked = self._world.store.read(requests_for(self.id)).of_jobs if answer.is_alive else {}
        for job, walk in self._walks.items():
            if job in self._asked:
                walk.stop.ask(self._asked[job])
        if not answer.is_alive and self._world.chance.random() < 0.7:
            self.is_gone = True
        return self._told("beats", "" if answer.is_alive else "in vain")

    def stall(self) -> Step:
        """Fall silent, and go on working."""
        self.is_stalled = True
        return self._told("stalls")

    def wake(self) -> Step:
        """Come back after a stall."""
        self.is_stalled = False
        return self._told("wakes up")

    def die(self) -> Step:
        """Die without notice."""
        self.is_gone = True
        return self._told("dies")

    def end(self) -> Step:
        """End as asked: give back what did not start, and leave the list of runners."""
        self._world.store.run(give_back(self.id, [(each.job, each.epoch) for each in self._unbegun()]))
        self._world.store.run(retire(self.id))
        self.is_gone = True
        return self._told("retires")

    def finish(self) -> Step:
        """End all that it holds well, long jobs slice by slice."""
        for job in self._held:
            if job not in self._begun:
                self._begin(job)
        if self._walks:
            return self._walk_on(next(iter(self._walks)))
        return self._complete(list(self._held)) if self._held else self.leave()

    def leave(self) -> Step:
        """Let jobs through that wait before the gates that its own jobs left."""
        gates = {gate for some in self._left for gate in some}
        self._left = []
        self._world.store.run(let_through(gates))
        self._claiming.reopen()
        return self._told("lets through", *sorted(gates))

    def _go_on(self, chance: random.Random) -> Step:
        job = chance.choice(list(self._held))
        if job not in self._begun:
            return self._give_back() if chance.random() < 0.4 else self._begin(job)
        if job in self._walks and chance.random() < 0.7:
            return self._walk_on(job)
        if (asked := self._asked.get(job)) is not None and chance.random() < 0.8:
            return self._settle(job, Stopped(asked))
        match chance.randrange(10):
            case 0 | 1 | 2 | 3 if job not in self._walks:
                ready = [each for each in self._held if each in self._begun and each not in self._walks]
                return self._complete([each for each in ready if chance.random() < 0.7] or [job])
            case 4 | 5:
                return self._settle(job, Raised(ERROR))
            case 6:
                return self._walk_on(job, only_saves=True) if job in self._walks else self._checkpoint(job)
            case 7:
                return self._settle(job, chance.choice((Snoozed(20 * SECOND, "not yet"), Snoozed(0, "again"))))
            case 8:
                alone = len(self._held) == 1
                return self._settle(job, chance.choice((Crashed("segfault", alone), Unfit("other code"), Expired())))
            case _:
                return self._settle(job, Stopped(chance.choice(("yield", "shutdown", "pause"))))

    def _begin(self, job: str) -> Step:
        self._begun.add(job)
        claimed, lane = self._held[job].claimed, self._held[job].lane
        if lane.kind in (IN_TRANSACTIONS, IN_SLICES):
            self._walks[job] = Walk(self._world.store, claimed, self.id, in_transactions=lane.kind == IN_TRANSACTIONS)
        return self._told("begins", short(job))

    def _walk_on(self, job: str, *, only_saves: bool = False) -> Step:
        walk, attempt = self._walks[job], self._attempt(job)
        outcome = walk.save() if only_saves else walk.go_on()
        told = f"{self.name} {'saves' if only_saves else 'goes on with'} {_words([attempt])}"
        match outcome:
            case None:
                return Step(f"{told}, {walk.done} done", [attempt])
            case Returned():
                return self._complete([job])
            case Stopped("lost"):
                self._forget(job)
                return Step(f"{told}, which it lost", [attempt])
            case _:
                return self._settle(job, outcome)

    def _give_back(self) -> Step:
        unbegun = self._unbegun()
        self._world.store.run(give_back(self.id, [(each.job, each.epoch) for each in unbegun]))
        for attempt in unbegun:
            self._forget(attempt.job)
        return Step(f"{self.name} gives back {_words(unbegun)}")  # including what was requested meanwhile

    def _complete(self, jobs: Sequence[str]) -> Step:
        attempts = [self._attempt(job) for job in jobs]
        ended = [Completion(job, epoch, f'"{epoch}"') for job, epoch, _ in attempts]
        refused = self._world.store.run(complete(self.id, ended)).refused
        for job in jobs:
            self._forget(job)
        return Step(f"{self.name} completes {_words(attempts)}, refused {len(refused)}", attempts)

    def _settle(self, job: str, outcome: Outcome) -> Step:
        claimed, lane, store = self._held[job].claimed, self._held[job].lane, self._world.store
        held = store.read(held_by(self.id))
        spent = next((each.spent for each in held if each.job == job), None)
        attempt = self._attempt(job)
        if spent is None:  # it lost its lease, and would be notified
            spent = Spent(claimed.errors, claimed.crashes, claimed.interruptions)
        options = application().registry[lane.kind].options
        policy = Policy(options.max_attempts, options.max_crashes, 10, options.backoff)
        transition = decide(spent, outcome, policy, chance=self._world.chance.random())
        applied = store.run(settle(Settlement(attempt, transition, lane)))
        self._forget(job)
        text = f"{self.name} ends {_words([attempt])} as {type(outcome).__name__}"
        return Step(f"{text} {transition.state.value}{'' if applied else ', refused'}", [attempt])

    def _checkpoint(self, job: str) -> Step:
        attempt = self._attempt(job)
        done = self._advanced[job] = self._advanced.get(job, 0) + 1
        at = Checkpoint(done, None, "[]", None, f'{{"":{{"cursor":[{attempt.epoch},{done}]}}}}', "{}")
        saved = self._world.store.run(checkpoint(attempt, at))
        if saved is not None and saved.request is not None:
            self._asked[job] = saved.request
        return Step(f"{self.name} saves {_words([attempt])}{'' if saved else ', refused'}", [attempt])

    def _forget(self, job: str) -> None:
        gates = self._held.pop(job).gates
        self._begun.discard(job)
        self._walks.pop(job, None)
        self._asked.pop(job, None)
        if gates is not None:
            self._left.append(gates)
        if not self._held:
            self._runs_suspect = False

    def _attempt(self, job: str) -> Fence:
        return Fence(job, self._held[job].claimed.epoch, self.id)

    def _unbegun(self) -> list[Fence]:
        return [self._attempt(job) for job in self._held if job not in self._begun]

    def _told(self, *words: str) -> Step:
        return Step(" ".join((self.name, *words)))


def short(job: str) -> str:
    """Return the end of an id, for people."""
    return job[-4:].lstrip("0") or "0"


def _words(attempts: Sequence[Fence]) -> str:
    return " ".join(f"{short(job)}/{epoch}" for job, epoch, _ in attempts)
