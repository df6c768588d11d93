"""A runner that tests drive by hand: it claims and runs one job after the other, until none may run now.

It is made of the parts of a worker: the claim with its gates and shares, preflight, middleware, checkpoints, the
completer. What a worker does beside that, in the background and on time, happens here when it is called. Isolated jobs
run in this process, so that they see what a test patched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil, inf

from posthorse.app.client import Posthorse
from posthorse.clock import SECOND, monotonic
from posthorse.errors import Interrupted
from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.chores.conditions import LookAtConditions
from posthorse.maintenance.chores.dead_letters import LookAtDeadLetters
from posthorse.maintenance.chores.expired_keys import ForgetExpiredKeys
from posthorse.maintenance.chores.gates import TendGates
from posthorse.maintenance.chores.joins import MakeRooms, ReleaseWaiting, SteerFamilies
from posthorse.maintenance.chores.lanes import EnterLanes
from posthorse.maintenance.chores.line_up import LineUpDueJobs
from posthorse.maintenance.chores.rescue import RescueFromSilentWorkers
from posthorse.maintenance.chores.retention import ForgetOldJobs, retention_of
from posthorse.maintenance.chores.signals import TendSignals
from posthorse.maintenance.event_observers import EventObservers
from posthorse.maintenance.schedules import Scheduler
from posthorse.rules.events import Ended
from posthorse.rules.lifecycle import Policy
from posthorse.rules.middleware import Layer, RunningAttempt
from posthorse.rules.outcomes import Lost, Outcome, Returned
from posthorse.rules.queues import DeclaredQueues
from posthorse.store.operations.releasing import release
from posthorse.store.operations.runners import NextDue, next_due, register, retire
from posthorse.testing.attempts import DrainLog
from posthorse.testing.crashes import Crash
from posthorse.testing.stores import TEST_WORKER
from posthorse.worker.assembly import make_logs, make_runner, make_stages
from posthorse.worker.claiming.claim_values import Claim, ClaimRequest, LookAgain
from posthorse.worker.running.execution import FromThread
from posthorse.worker.running.executors import Executors
from posthorse.worker.running.in_process import InProcessExecutor
from posthorse.worker.running.process_life import ProcessLife
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.threads import CallRunner

LEASE = 10 * 365 * 86_400 * SECOND
"""Microseconds. No heart renews the lease, and time may leap while it runs."""

ENDS_OF_JOBS = (Exception, Interrupted, SystemExit, asyncio.CancelledError, GeneratorExit, Crash)
"""What a job may raise without ending the drain."""

ONE_JOB = ClaimRequest(room=1, limited_room=1, is_empty=True, is_woken=True)
MAX_TURNS = 1_000
"""Turns of the scheduler in one go: each handles one time of each schedule that is late."""


class HandRunner:
    """The runner of one application, for one drain. Must be made inside a running event loop."""

    def __init__(
        self,
        app: Posthorse,
        calls: CallRunner[FromThread],
        attempts: DrainLog,
        observers: EventObservers | None = None,
    ) -> None:
        store, registry, settings = app.store, app.registry, app.settings
        labels = [f"{name}={value}" for name, value in _labels_of(registry.queues).items()]
        self._app = app
        self._store = store
        self._attempts = attempts
        self._observers = observers
        self._runner = make_runner(registry, queues=(), labels=labels, concurrency=1, worker=TEST_WORKER)
        self._life = ProcessLife(registry.process_hooks, store.tuning)
        self._lives = False
        self._executor = InProcessExecutor(
            store,
            self._runner.id,
            registry,
            self._life.resources,
            concurrency=1,
            longest_transaction=settings.lease / 3,
            threads=calls,
            outermost=(Layer(self._catch_error, is_async=False),),
        )
        executors = Executors(registry, store, self._runner.id, in_process=self._executor, isolated=self._executor)
        logs = make_logs(store, registry, settings, self._runner)
        self._stages = make_stages(store, registry, settings, self._runner, executors, logs)
        self._capturing = ExitStack()
        self._stages.ended.call(self._take_ended)
        self._ended: list[tuple[RunningJob, Outcome]] = []
        self._has_news = asyncio.Event()
        self._gate_opens_in = inf
        """Seconds until the first gate opens that keeps jobs from being claimed."""
        self._completing: asyncio.Task[None] | None = None
        self._scheduler = Scheduler(store, registry.schedules, registry.queues, registry.packing, has_rivals=False)
        self._retention = ForgetOldJobs(store, retention_of(registry, settings))
        policy = Policy(max_interruptions=settings.max_interruptions)
        self._chores: list[Chore] = [
            LineUpDueJobs(store),
            SteerFamilies(store, registry.packing),
            MakeRooms(store),
            ReleaseWaiting(store),
            TendGates(store),
            RescueFromSilentWorkers(store, lease=settings.lease, policy=policy),
            ForgetExpiredKeys(store),
            TendSignals(store),
            EnterLanes(store),
            LookAtDeadLetters(store, registry.observers, registry.queues, registry.packing),
            LookAtConditions(store, registry.conditions, registry.queues, registry.packing),
            self._retention,
        ]
        attempts.runners.add(self._runner.id)
        self._hears_no_more = store.emitter.subscribe(attempts.hear, Ended)

    async def start(self) -> None:
        """Register, so that the store leases jobs to it."""
        await self._store.arun(register(self._runner, lease=LEASE))
        self._capturing.enter_context(self._stages.logs.capturing())
        self._completing = asyncio.create_task(self._stages.completer.run())

    async def stop(self) -> None:
        """Write what it counted, and take it out of the store again."""
        self._hears_no_more()
        with self._capturing:  # until here
            await self._stages.completer.close()
            if self._completing is not None:
                await self._completing
            await self._stages.tallying.write()
            await self._life.stop()
            await self._executor.close()
        await self._store.arun(retire(self._runner.id))

    async def maintain(self) -> None:
        """Do what is due now: schedules, jobs whose time has come, gates, keys, old jobs, dead letters, events."""
        turns = 0
        while self._app.registry.schedules and await self._scheduler.turn() <= 0 and turns < MAX_TURNS:
            turns += 1
        look: NextDue | None = await self._store.aread(next_due())
        for chore in self._chores:
            look = await chore.run(look)
        while self._retention.is_on_its_way:
            look = await self._retention.run(look)
        if self._observers is not None:
            await self._observers.notify()

    async def run_ready(self, at_most: int) -> int:
        """Run jobs until none may run now, or so many attempts ran; return how many ran."""
        ran = 0
        while ran < at_most:
            began = monotonic()
            claim = await self._stages.claiming.claim(ONE_JOB)
            self._gate_opens_in = claim.opens_at - began
            if claim.jobs:
                await self._begin_life(claim)
                self._stages.slots.add(claim.jobs)
                await self._complete()
                ran += len(claim.jobs)
            elif claim.look_again is LookAgain.WHEN_WOKEN:
                break
        return ran

    async def next_due(self) -> int | None:
        """Return the microseconds until a job that waits is due, or a gate has a token for one; None if none waits."""
        look = await self._store.aread(next_due())
        opens_in = ceil(self._gate_opens_in * SECOND) if 0 < self._gate_opens_in < inf else None
        return min((time for time in (look.job, look.gate, opens_in) if time is not None and time > 0), default=None)

    def look_again(self) -> None:
        """Look at all gates again, because the clock was moved."""
        self._stages.claiming.reopen()

    async def _begin_life(self, claim: Claim) -> None:
        """Call the functions of `on_start` before the first job; if one raises, give the job back."""
        if self._lives:
            return
        try:
            await self._life.start()
        except BaseException:
            await self._stages.completer.give_back([(job.claimed.job, job.claimed.epoch) for job in claim.jobs])
            raise
        self._lives = True

    async def _complete(self) -> None:
        """Wait until what runs has ended, and write how."""
        stages = self._stages
        while stages.slots.load or stages.completer.left or self._ended:
            while self._ended:
                running, outcome = self._ended.pop(0)
                outcome = self._as_it_was(running, outcome)
                if type(outcome) is Returned:
                    stages.completer.put(running, outcome)
                else:
                    await stages.completer.settle(running, outcome)
                self._raise_if_interrupted(running)
            if stages.slots.load or stages.completer.left:
                await self._has_news.wait()
                self._has_news.clear()
        while await self._store.arun(release()):
            pass  # what waited for these ends runs next

    def _take_ended(self) -> None:
        stages = self._stages
        self._ended += stages.ended.take()
        if stages.ended.has_left_gates:
            stages.ended.has_left_gates = False
            stages.claiming.reopen()
        self._has_news.set()

    def _as_it_was(self, running: RunningJob, outcome: Outcome) -> Outcome:
        """Return the outcome; that of a runner that died, if the test made it die here."""
        if isinstance(self._attempts.errors.get(running.claimed.job), Crash):
            return Lost("its worker died, as the test wanted")
        return outcome

    def _raise_if_interrupted(self, running: RunningJob) -> None:
        error = self._attempts.errors.get(running.claimed.job)
        if error is not None and not isinstance(error, ENDS_OF_JOBS):
            raise error  # Ctrl-C, or pytest's own: skip, fail

    def _catch_error(self, attempt: RunningAttempt) -> Iterator[None]:
        self._attempts.errors.pop(attempt.job, None)
        try:
            yield
        except BaseException as error:
            self._attempts.errors[attempt.job] = error
            raise


def _labels_of(queues: DeclaredQueues) -> dict[str, str]:
    """Return all labels that queues require, so that this runner serves every queue."""
    return {label: value for settings in queues.settings({}).values() for label, value in settings.labels.items()}
