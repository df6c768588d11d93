"""The loop of a runner: asks for room, receives leased jobs, starts them, and hands in how they ended.

The journey of a job here: 1. claimed into the backlog, 2. started when there is room, 3. its outcome either joins
the next batch of completions or is decided on by the lifecycle, 4. the store applies that if the fence holds. The
next claim and the last completions are under way while jobs run.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from posthorse.errors import PosthorseError, StoreError
from posthorse.rules.job import Lane, Options
from posthorse.rules.lifecycle import Outcome, Policy, Returned, Spent, Stopped, decide
from posthorse.rules.registry import Registered, Registry
from posthorse.rules.retry import Backoff
from posthorse.rules.settings import Settings
from posthorse.store.operations.claim import Claimed, Probe, claim, give_back, lanes_after, shares
from posthorse.store.operations.finish import Attempt, Completion, complete, settle
from posthorse.store.operations.runners import Runner, requests_for, set_idle
from posthorse.store.store import Store
from posthorse.store.watch import Watch, make_watch
from posthorse.worker.execution import Assignment, run
from posthorse.worker.failpoints import failpoint
from posthorse.worker.journal import Journal
from posthorse.worker.lanes import LaneBook
from posthorse.worker.prefetch import Prefetch
from posthorse.worker.stop import StopSignal

T = TypeVar("T")
log = logging.getLogger("posthorse.worker")

LONGEST_OUTBOX = 2000
LANES_EVERY = 0.05
REQUESTS_EVERY = 0.5
RETRY_FIRST, RETRY_LONGEST = 0.1, 5.0


class Running:
    """A job that has begun."""

    __slots__ = ("began", "claimed", "journal", "kind", "lane", "options", "stop", "task")

    def __init__(self, claimed: Claimed, lane: Lane, kind: Registered, began: float) -> None:
        self.claimed = claimed
        self.lane = lane
        self.kind = kind
        self.began = began
        self.options = Options.decode(claimed.options)
        self.stop = StopSignal()
        self.journal: Journal | None = None
        self.task: asyncio.Task[None] | None = None


class Loop:
    """Runs jobs of one runner until it is told to stop."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        runner: Runner,
        *,
        takes_suspects: bool = True,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._runner = runner
        self._takes_suspects = takes_suspects
        self._is_lost = lost
        self._book = LaneBook(self._serves, keeps_marks=not store.is_sqlite)
        self._prefetch = Prefetch(runner.concurrency)
        self._threads = ThreadPoolExecutor(runner.concurrency, thread_name_prefix="posthorse-job")
        self._backlog: deque[Claimed] = deque()
        self._running: dict[str, Running] = {}
        self._outbox: list[Completion] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._is_solo = False
        self._is_idle_known = False
        self._looked_for_lanes = 0.0
        self._has_room = asyncio.Event()
        self._has_outcomes = asyncio.Event()
        self._is_drained = asyncio.Event()
        self._watch: Watch | None = None

    # ── the outside ──────────────────────────────────────────────────────────────────────────────────

    @property
    def running_count(self) -> int:
        """How many jobs have begun and not ended."""
        return len(self._running)

    async def run(self) -> None:
        """Runs until `stop`, then hands in everything that is left."""
        async with make_watch(self._store) as self._watch:
            handing_in = asyncio.create_task(self._hand_in_forever())
            listening = asyncio.create_task(self._listen_forever())
            try:
                await self._claim_until_stopped()
                await self._drain()
            finally:
                listening.cancel()
                self._has_outcomes.set()
                await handing_in
        self._threads.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """No more claims; jobs with checkpoints stop at the next, the others run to their end or the grace."""
        self._is_stopping = True
        for running in self._running.values():
            if running.journal is not None:
                running.stop.ask("shutdown")
        self._has_room.set()
        if self._watch is not None:
            self._watch.wake()

    def stop_now(self) -> None:
        """Ends the grace: async jobs are cancelled, jobs in threads are left to their fate."""
        self.stop()
        for running in self._running.values():
            self._interrupt(running, "shutdown")
        self._is_drained.set()

    def ask(self, job: str, request: str) -> None:
        """Passes on what somebody asks of a running job."""
        running = self._running.get(job)
        if running is None or running.stop.request == request:
            return
        if request == "cancel":
            self._interrupt(running, "cancel")
        else:
            running.stop.ask(request)

    def lose_all(self) -> None:
        """The lease was lost: nothing that runs here counts any more."""
        for running in self._running.values():
            self._interrupt(running, "lost")
        self._backlog.clear()

    # ── claiming ─────────────────────────────────────────────────────────────────────────────────────

    async def _claim_until_stopped(self) -> None:
        failures = 0
        while not self._is_stopping:
            room = self._room()
            if room <= 0:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            try:
                claimed = await self._claim(room)
                if not claimed and not await self._wait_for_work():
                    continue
                failures = 0
            except PosthorseError as error:
                failures += 1
                pause = random.uniform(0.5, 1) * min(RETRY_LONGEST, RETRY_FIRST * 2**failures)
                log.warning("cannot claim jobs: %s; looking again in %.1f s", error, pause)
                await asyncio.sleep(pause)

    async def _claim(self, room: int) -> bool:
        assert self._watch is not None
        self._watch.clear()
        await self._look_for_lanes()
        began = time.monotonic()
        probes = self._book.probes(began)
        solo = self._book.probes(began, solo=True) if self._takes_suspects else ()
        if not probes and not solo:
            return False
        claimed = await self._claim_from(probes, room)
        now = time.monotonic()
        self._book.note(claimed, room=room, now=now, seconds=now - began)
        if not claimed and solo:
            claimed = await self._claim_suspect()
        if claimed:
            failpoint("after_claim")
            await self._accept(claimed)
        return bool(claimed)

    async def _claim_from(self, probes: Sequence[Probe], room: int) -> list[Claimed]:
        if not probes:
            return []
        if self._is_idle_known and self._store.is_sqlite and not await self._store.aread(shares(probes, 1)):
            return []  # somebody else's write woke us: looking costs no turn at the one write lock
        return await self._store.arun(claim(self._runner.id, probes, room))

    async def _claim_suspect(self) -> list[Claimed]:
        """A suspect runs alone: what runs here ends first, and nothing else begins beside it."""
        if self._running or self._backlog:
            return []
        claimed = await self._claim_from(self._book.probes(time.monotonic(), solo=True), 1)
        self._is_solo = bool(claimed)
        return claimed

    async def _accept(self, claimed: list[Claimed]) -> None:
        if self._is_idle_known and len(claimed) > 1:
            await self._say_idle(False)
        if len(claimed) > 1:
            claimed.sort(key=lambda job: -self._book[job.lane].priority)
        self._backlog.extend(claimed)
        self._start_from_backlog()

    def _room(self) -> int:
        """How many jobs to ask for now; 0 for none yet."""
        if self._is_solo or len(self._outbox) > LONGEST_OUTBOX:
            return 0
        capacity = self._runner.concurrency + self._prefetch.allowance()
        room = capacity - len(self._running) - len(self._backlog)
        # Ask in batches: with a full backlog, wait until half of it is gone.
        return room if room > 0 and (not self._backlog or room * 2 >= capacity) else 0

    async def _look_for_lanes(self) -> None:
        now = time.monotonic()
        if now - self._looked_for_lanes >= LANES_EVERY:
            self._looked_for_lanes = now
            self._book.add(await self._store.aread(lanes_after(self._book.known)))

    def _serves(self, lane: Lane) -> bool:
        return lane.kind in self._registry and (not self._runner.queues or lane.queue in self._runner.queues)

    async def _wait_for_work(self) -> bool:
        """Waits to be woken, at most until the next look; true when it was worth waiting."""
        assert self._watch is not None
        if not self._is_idle_known:
            # Once more after saying so: a job that was enqueued in between told nobody.
            await self._say_idle(True)
            return False
        self._looked_for_lanes = 0.0
        await self._watch.wait(self._settings.poll)
        return True

    async def _say_idle(self, idle: bool) -> None:
        self._is_idle_known = idle
        if not self._store.is_sqlite:
            await self._store.arun(set_idle(self._runner.id, idle=idle))

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def _start_from_backlog(self) -> None:
        free = self._runner.concurrency - len(self._running)
        while free > 0 and self._backlog and not self._is_stopping:
            self._start(self._backlog.popleft())
            free -= 1

    def _start(self, claimed: Claimed) -> None:
        lane = self._book[claimed.lane]
        running = Running(claimed, lane, self._registry[lane.kind], time.monotonic())
        self._running[claimed.job] = running
        running.task = asyncio.get_running_loop().create_task(self._run(running))

    async def _run(self, running: Running) -> None:
        outcome = await run(self._assignment(running), self._threads)
        now = time.monotonic()
        self._prefetch.observe(now - running.began)
        del self._running[running.claimed.job]
        if type(outcome) is Returned:
            failpoint("before_completion")
            self._outbox.append(Completion(running.claimed.job, running.claimed.epoch, outcome.result))
            self._has_outcomes.set()
        elif running.stop.request != "lost":
            task = asyncio.get_running_loop().create_task(self._settle(running, outcome))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        if self._backlog:
            self._start_from_backlog()
        elif not self._running:
            self._is_solo = False
            if self._is_stopping:
                self._is_drained.set()
        if not self._has_room.is_set() and self._room() > 0:
            self._has_room.set()

    def _assignment(self, running: Running) -> Assignment:
        claimed, kind = running.claimed, running.kind
        if kind.signature.wants_context:
            running.journal = Journal(
                self._store,
                Attempt(claimed.job, claimed.epoch),
                running.stop,
                longest_transaction=self._settings.lease / 3,
            )
        return Assignment(
            claimed.job,
            claimed.errors + 1,
            kind,
            claimed.arguments,
            running.options.timeout or kind.options.timeout,
            running.stop,
            running.journal,
            claimed.epoch == 1,
        )

    def _interrupt(self, running: Running, request: str) -> None:
        running.stop.ask(request)
        if running.kind.is_async and running.task is not None:
            running.task.cancel()

    # ── handing in ───────────────────────────────────────────────────────────────────────────────────

    async def _hand_in_forever(self) -> None:
        while not (self._is_drained.is_set() and not self._outbox):
            await self._has_outcomes.wait()
            self._has_outcomes.clear()
            batch, self._outbox = self._outbox, []
            if batch:
                await self._hand_in(batch)
                self._has_room.set()

    async def _hand_in(self, batch: list[Completion]) -> None:
        refused = await self._until_it_works(lambda: self._store.arun(complete(batch)))
        failpoint("after_completion")
        for job in refused or ():
            log.warning("job %s was taken over by another runner; the result from here was dropped", job)

    async def _settle(self, running: Running, outcome: Outcome) -> None:
        claimed = running.claimed
        advanced = running.journal is not None and running.journal.slices_committed > 0
        spent = Spent(claimed.errors) if advanced else Spent(claimed.errors, claimed.crashes, claimed.losses)
        transition = decide(spent, outcome, self._policy(running), chance=random.random())
        seconds = time.monotonic() - running.began
        evidence = {"worker": self._runner.worker, "pid": self._runner.pid, "seconds": round(seconds, 3)}
        if transition.error is not None:
            evidence |= msgspec.to_builtins(transition.error)
        applied = await self._until_it_works(
            lambda: self._store.arun(
                settle(
                    Attempt(claimed.job, claimed.epoch),
                    transition,
                    running.lane,
                    msgspec.json.encode(evidence).decode(),
                    channel=self._store.backend.channel,
                )
            )
        )
        if not applied:
            log.warning("job %s was taken over by another runner; its outcome here was dropped", claimed.job)
        elif not isinstance(outcome, Stopped):
            log.info("job %s (%s): %s", claimed.job, running.kind.kind, transition.reason)

    def _policy(self, running: Running) -> Policy:
        kind, options = running.kind.options, running.options
        backoff = kind.backoff if options.backoff is None else Backoff(*options.backoff)
        return Policy(
            max_attempts=options.max_attempts or kind.max_attempts,
            max_crashes=kind.max_crashes,
            max_losses=self._settings.max_interruptions,
            backoff=backoff,
        )

    async def _until_it_works(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """Insists while the lease may still stand; None when it cannot any more."""
        deadline = time.monotonic() + self._settings.lease
        failures = 0
        while True:
            try:
                return await attempt()
            except StoreError as error:
                failures += 1
                pause = random.uniform(0.5, 1) * min(RETRY_LONGEST, RETRY_FIRST * 2**failures)
                if time.monotonic() + pause > deadline:
                    log.error("gave up writing to the store: %s; the jobs concerned run again elsewhere", error)
                    return None
                log.warning("cannot write to the store: %s; trying again in %.1f s", error, pause)
                await asyncio.sleep(pause)

    # ── listening and stopping ───────────────────────────────────────────────────────────────────────

    async def _listen_forever(self) -> None:
        """Hears within a second what is asked of running jobs, and returns a backlog that is not moving."""
        moved = 0
        while True:
            await asyncio.sleep(REQUESTS_EVERY)
            if not self._running:
                continue
            if self._is_lost():
                self.lose_all()
                continue
            if self._backlog and moved == self._prefetch.observed:
                await self._return_backlog()
            moved = self._prefetch.observed
            try:
                asked = await self._store.aread(requests_for(self._runner.id))
            except PosthorseError as error:
                log.warning("cannot hear what is asked of jobs: %s", error)
                continue
            for job, running in list(self._running.items()):
                if job in asked:
                    self.ask(job, asked[job])
                else:
                    running.stop.withdraw_pause()

    async def _return_backlog(self) -> None:
        """What was claimed but not begun goes back unspent."""
        waiting = [(job.job, job.epoch) for job in self._backlog]
        self._backlog.clear()
        if waiting:
            await self._until_it_works(
                lambda: self._store.arun(give_back(waiting, channel=self._store.backend.channel))
            )

    async def _drain(self) -> None:
        await self._return_backlog()
        if not self._running:
            self._is_drained.set()
        try:
            await asyncio.wait_for(self._is_drained.wait(), self._settings.grace)
        except TimeoutError:
            log.warning("%d jobs did not end within the grace; they go back unspent", len(self._running))
            self.stop_now()
        await asyncio.sleep(0)
        await self._release_the_rest()
        while self._settling:
            await asyncio.gather(*self._settling)

    async def _release_the_rest(self) -> None:
        """Jobs that ignore the end of the grace are released; this process ends, and their fence with it."""
        deadline = time.monotonic() + 1.0
        while self._running and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for running in list(self._running.values()):
            await self._settle(running, Stopped("shutdown"))
