"""The job loop of a runner: claims jobs while there is room, and makes sure that the outcome of each is written.

A job passes through 1. the claim, 2. the backlog of the slots, then a slot once one is free (`slots`), 3. the queue of
ended jobs (`ended_jobs`), 4. the completer, which writes results in batches and every other outcome as the lifecycle
decides. The next claim and the last results are under way while jobs run.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from posthorse.clock import monotonic, until_tick
from posthorse.errors import OutcomeUnknown, PosthorseError
from posthorse.failpoints import failpoint
from posthorse.rules.durations import lasted
from posthorse.rules.outcomes import Stopped
from posthorse.rules.settings import Settings
from posthorse.store.operations.runners import Runner, held_by
from posthorse.store.store import Store
from posthorse.store.watch import Watch
from posthorse.worker.base.trial_write import takes_writes
from posthorse.worker.base.unanswered_calls import ANSWER_WITHIN, comes_within, ends_once_told, ends_while_answered
from posthorse.worker.claiming.claim_values import Claim, ClaimRequest, LookAgain
from posthorse.worker.claiming.claiming import Claiming
from posthorse.worker.claiming.prefetch import Prefetch
from posthorse.worker.running.completer import Completer
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.executors import Executors
from posthorse.worker.running.job_logs import JobLogs
from posthorse.worker.running.request_poller import RequestPoller
from posthorse.worker.running.slots import Slots
from posthorse.worker.running.tallying import Tallying
from posthorse.worker.running.telling import Telling

log = logging.getLogger("posthorse.worker")

FIRST_RETRY, MAX_RETRY_PAUSE = 0.1, 5.0
MAX_HOLD, HOLD_INTERVAL = 5.0, 30.0
"""Seconds in which nothing starts so that a suspect gets its turn, and seconds between two such holds."""

LAST_WORDS = 1.0
"""Seconds that cancelled jobs get to clean up after the grace."""

SHORT_PATIENCE = 0.25
"""Seconds that the store gets to answer at the end if it did not answer during the grace."""


class Stages(NamedTuple):
    """The parts that the loop connects, in the order in which a job meets them; `worker/assembly` builds them."""

    watch: Watch
    claiming: Claiming
    prefetch: Prefetch
    slots: Slots
    executors: Executors
    ended: EndedJobs
    completer: Completer
    tallying: Tallying
    telling: Telling
    requests: RequestPoller
    logs: JobLogs


class JobLoop:
    """The job loop of one runner, until it must stop."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        runner: Runner,
        stages: Stages,
        *,
        serves_suspects_only: bool,
        is_one_by_one: bool,
        is_replaceable: bool,
        lost: Callable[[], bool],
    ) -> None:
        self._store = store
        self._settings = settings
        self._runner = runner
        self._watch = stages.watch
        self._claiming = stages.claiming
        self._prefetch = stages.prefetch
        self._slots = stages.slots
        self._executors = stages.executors
        self._ended = stages.ended
        self._ended.call(self._take_ended)
        self._completer = stages.completer
        self._tallying = stages.tallying
        self._telling = stages.telling
        self._requests = stages.requests
        self._logs = stages.logs
        self._serves_suspects_only = serves_suspects_only
        self._is_one_by_one = is_one_by_one
        """True if only one job may be claimed at a time."""
        self._is_replaceable = is_replaceable
        self._is_lost_elsewhere = lost
        self._claim_before = Claim((), LookAgain.AT_ONCE)
        self.is_spoilt = False
        """True when the code of a job that was given up still runs here: this process should be replaced."""
        self.is_unanswered = False
        """True when the store did not answer in time at the end: it may have leases that this runner will not end."""
        self._is_stopping = False
        self._told_to_stop = asyncio.Event()
        self._grace_ends = math.inf
        self._trial: asyncio.Task[bool] | None = None
        """A write that shows whether the store answers while jobs use the grace."""
        self._returning: list[asyncio.Task[None]] = []
        self._may_hold_more = False
        self._holds_until = 0.0
        self._next_hold = 0.0
        self._ended_before = 0
        self._has_room = asyncio.Event()
        self._is_empty = asyncio.Event()

    # ── the outside ──────────────────────────────────────────────────────────────────────────────────

    @property
    def running_count(self) -> int:
        """How many jobs have started and not ended."""
        return len(self._slots.running)

    @property
    def is_lost(self) -> bool:
        """True when the store may disagree about what runs here: the lease is over, or an outcome was given up."""
        return self._is_lost_elsewhere() or self._completer.has_given_up

    async def run(self) -> None:
        """Work until `stop` is called or the lease is lost, then write all outcomes that are left."""
        async with self._watch:
            handing_in = asyncio.create_task(self._completer.run())
            listening = asyncio.create_task(self._listen_forever())
            tallying = asyncio.create_task(self._tallying.write_forever())
            telling = asyncio.create_task(self._telling.tell_forever())
            logging_jobs = asyncio.create_task(self._logs.write_forever())
            claiming = asyncio.create_task(self._claim_until_stopped())
            try:
                await self._becomes_stopped(claiming)
                await self._drain()
            finally:
                listening.cancel()
                self._take_ended()
                try:
                    await self._hand_in(handing_in, claiming)
                finally:
                    tallying.cancel()
                    telling.cancel()
                    logging_jobs.cancel()
                if not self.is_unanswered and not self.is_lost:
                    await comes_within(ANSWER_WITHIN, self._tallying.write())
                await self._executors.close()

    def stop(self) -> None:
        """Claim no more jobs, and ask jobs to stop at a checkpoint; those without one get the grace to end."""
        if not self._is_stopping:
            self._grace_ends = monotonic() + self._settings.grace
            self._completer.ends_at = self._grace_ends + LAST_WORDS
        self._is_stopping = True
        self._told_to_stop.set()
        for running in self._slots.running.values():
            if running.has_checkpoints:
                running.ask("shutdown")
        self._has_room.set()
        self._watch.wake()

    # ── claiming ─────────────────────────────────────────────────────────────────────────────────────

    async def _claim_until_stopped(self) -> None:
        """Claim again and again until the runner must stop.

        wait for room ── room ──> claim ── AT_ONCE, WHEN_ROOM ──────────────> wait for room
                                    └───── WHEN_WOKEN ──> wait to be woken ─> wait for room
        """
        failures = 0
        while not self._is_stopping:
            room = self._room()
            if room <= 0:
                await self._wait_for_room()
                continue
            try:
                self._claim_before = (await self._claim(room))._replace(jobs=())  # do not keep jobs in memory
                if self._claim_before.look_again is LookAgain.WHEN_WOKEN:
                    await self._wait_to_be_woken(self._claim_before.opens_at)
                failures = 0
            except PosthorseError as error:
                failures += 1
                self._may_hold_more = self._may_hold_more or isinstance(error, OutcomeUnknown)
                pause = random.uniform(0.5, 1) * min(MAX_RETRY_PAUSE, FIRST_RETRY * 2**failures)
                log.warning("cannot claim jobs: %s; looking again in %.1f s", error, pause)
                await self._watch.wait(pause)

    def _room(self) -> int:
        """Return how many jobs to ask for now; 0 for none yet."""
        load, before = self._slots.load, self._claim_before
        concurrency = self._runner.concurrency - self._slots.spoilt
        if concurrency <= 0 or self._completer.is_full:
            return 0
        if load and (before.is_suspect or monotonic() < self._holds_until):
            return 0
        if self._is_one_by_one:
            return 0 if load else 1
        capacity = concurrency + (0 if before.look_again is LookAgain.WHEN_ROOM else self._prefetch.allowance())
        room = capacity - load
        # Ask in batches: with a backlog, wait until half of it is gone. Jobs that are about to start are not a backlog.
        has_backlog = load > concurrency
        return room if room > 0 and (not has_backlog or room * 2 >= capacity) else 0

    async def _wait_for_room(self) -> None:
        self._has_room.clear()
        await self._has_room.wait()

    async def _claim(self, room: int) -> Claim:
        """Claim and start up to `room` jobs."""
        is_woken = self._watch.is_certain
        self._watch.clear()
        if self._may_hold_more:
            await self._return_what_is_unknown()
        load = self._slots.load
        free = self._runner.concurrency - self._slots.spoilt - load
        claim = await self._claiming.claim(ClaimRequest(room, free, is_empty=not load, is_woken=is_woken))
        if not claim.jobs:
            return claim
        failpoint("after_claim")
        self._watch.found()
        if self._is_stopping:  # the stop came while the claim was under way
            await self._completer.give_back([(job.claimed.job, job.claimed.epoch) for job in claim.jobs])
            return claim
        self._slots.add(claim.jobs)
        if len(claim.jobs) < room:
            await asyncio.sleep(0)  # let them start before the next claim
        return claim

    async def _wait_to_be_woken(self, opens_at: float) -> None:
        """Wait until there may be work, at most until the next look or until a gate opens."""
        patience = self._watch.patience(self._settings.poll)
        has_news = await self._watch.wait(min(patience, max(0.0, opens_at - monotonic())))
        if self._serves_suspects_only and not has_news:
            self.stop()  # all suspects have been tried

    async def _return_what_is_unknown(self) -> None:
        """Read which jobs a claim whose reply was lost has leased to this runner, and give them back unspent."""
        held = await self._store.aread(held_by(self._runner.id))
        ended = (running.claimed.job for running, _ in self._ended.jobs)
        backlog = (job.claimed.job for job in self._slots.backlog)
        known = {*self._slots.running, *backlog, *ended, *self._completer.jobs}
        await self._completer.give_back([(lease.job, lease.epoch) for lease in held if lease.job not in known])
        self._may_hold_more = False

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def _take_ended(self) -> None:
        """Pass ended jobs to the completer, and note whether there is room for others now."""
        tells_all = log.isEnabledFor(logging.DEBUG)
        for running, outcome in self._ended.take():
            self._prefetch.observe(running.seconds)
            self._completer.put(running, outcome)
            if tells_all:
                how = type(outcome).__name__.lower()
                log.debug("%s ended after %s: %s", running.label, lasted(running.seconds), how)
        if self._ended.has_left_gates:
            self._ended.has_left_gates = False
            self._claiming.reopen()
            self._watch.wake()
        if self._is_stopping:
            self._tell_if_drained()
        if not self._has_room.is_set() and self._room() > 0:
            self._has_room.set()

    def _tell_if_drained(self) -> None:
        # Do not wait for a job whose lease is lost: its outcome counts for nothing.
        if all(running.stop.request == "lost" for running in self._slots.running.values()):
            self._is_empty.set()

    # ── listening ────────────────────────────────────────────────────────────────────────────────────

    async def _listen_forever(self) -> None:
        while True:
            await asyncio.sleep(until_tick(self._requests.interval))
            try:
                await self._listen()
            except PosthorseError as error:
                log.warning("cannot hear what is asked of jobs: %s", error)
            except Exception:  # an error with one job must not keep requests from the others
                log.exception("cannot hear what is asked of jobs")

    async def _listen(self) -> None:
        """Pass on what was requested of running jobs, and give back a backlog that does not move."""
        if self.is_lost:
            self._lose_all()
        elif self._slots.running:
            if self._slots.backlog and self._prefetch.observed == self._ended_before:
                await self._completer.give_back(self._slots.empty_backlog())
            self._ended_before = self._prefetch.observed
            self._give_up_what_does_not_end()
            self._claiming.close_at(await self._requests.hear())
            await self._requests.miss_lost_leases()
            self._tell_if_drained()
            await self._hold_for_suspects()

    def _give_up_what_does_not_end(self) -> None:
        for running in self._requests.end_what_does_not_obey():
            assert running.verdict is not None
            self._slots.abandon(running, running.verdict)
            if self._is_replaceable and not self.is_spoilt:
                log.error("this runner ends once its other jobs do, and is replaced: that code takes a place in it")
                self.is_spoilt = True
                self.stop()

    async def _hold_for_suspects(self) -> None:
        """Claim nothing for a while if suspects wait: without a runner of their own, they need this one to be empty."""
        now = monotonic()
        if now >= self._next_hold and await self._claiming.suspects_wait():
            self._holds_until, self._next_hold = now + MAX_HOLD, now + HOLD_INTERVAL

    def _lose_all(self) -> None:
        """Stop all jobs and claim no more, because the lease was lost: what runs here no longer counts."""
        self._slots.empty_backlog()
        for running in list(self._slots.running.values()):
            running.lose()
        if not self._is_stopping:
            log.error("the lease of this runner is lost; it stops")
            self.stop()

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────

    async def _becomes_stopped(self, claiming: asyncio.Task[None]) -> None:
        """Wait until the runner must stop and its claim has ended. A claim that the store does not answer may still go
        on.

        What such a claim still brings goes back: from here, while jobs run, or with all else that this runner leaves.
        """
        if await ends_once_told(claiming, self._told_to_stop):
            claiming.result()

    async def _drain(self) -> None:
        """Let running jobs end or stop at a checkpoint; cancel those that are left when the grace is over."""
        # Run this beside the drain: jobs may use all of their grace, and no more, even if the store does not answer.
        self._returning.append(asyncio.create_task(self._completer.give_back(self._slots.close())))
        if self._slots.running:
            self._trial = asyncio.create_task(takes_writes(self._store, self._runner.id))
        if await self._becomes_empty(0 if self.is_lost else self._grace_ends - monotonic()):
            return
        log.warning("%d jobs did not end within the grace; they go back unspent", self.running_count)
        for running in list(self._slots.running.values()):
            running.interrupt("shutdown")
        if await self._becomes_empty(LAST_WORDS):
            return
        # The jobs that are left ignore every request. Isolated ones are killed. The others are released: this process
        # ends soon, or the fence refuses what they write.
        for running in list(self._slots.running.values()):
            running.verdict = Stopped("shutdown")
            if not running.executor.end(running) and running.stop.request != "lost" and self._slots.release(running):
                self._completer.put(running, running.verdict)
        await self._becomes_empty(LAST_WORDS)

    async def _becomes_empty(self, seconds: float) -> bool:
        self._is_empty.clear()
        self._tell_if_drained()
        if self._is_empty.is_set():
            return True
        try:
            await asyncio.wait_for(self._is_empty.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _hand_in(self, handing_in: asyncio.Task[None], claiming: asyncio.Task[None]) -> None:
        """Wait until the outcomes are written: to the end of the grace, and longer as long as the store answers."""
        is_silent = self._trial is not None and not self._trial.done()
        left = asyncio.gather(self._completer.close(), handing_in, *self._returning)
        if await ends_while_answered(
            left,
            lambda: self._completer.left,
            within=SHORT_PATIENCE if is_silent else ANSWER_WITHIN,
            until=self._grace_ends if self._is_stopping and not self.is_lost else -math.inf,
        ):
            left.result()
        else:
            self.is_unanswered = True
            left.cancel()
        if not claiming.done():
            self.is_unanswered = True
            claiming.cancel()
        elif self._is_stopping and not claiming.cancelled() and (error := claiming.exception()) is not None:
            log.error("a claim failed while this runner stopped", exc_info=error)
        if self.is_unanswered:
            log.error("ending without the store, which does not answer; what this runner holds runs again elsewhere")
