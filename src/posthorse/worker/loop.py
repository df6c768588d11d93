"""The loop of a runner: asks for room, receives leased jobs, and sees to it that they end well.

The journey of a job here: 1. claimed, 2. begun in a slot when there is one (`slots`), 3. its outcome put into the
outbox (`outbox`), where results are written in batches and everything else is decided by the lifecycle, 4. applied
by the store if the fence holds. The next claim and the last results are under way while jobs run.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Literal

from posthorse.errors import OutcomeUnknown, PosthorseError
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Outcome, Stopped
from posthorse.rules.queues import as_labels
from posthorse.rules.registry import Registry
from posthorse.rules.settings import Settings
from posthorse.store.operations.claim import Claimed, Probe, claim, claim_by_turns, news, shares, waits
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.runners import Runner, held_by, requests_for, set_idle, still_held
from posthorse.store.store import Store
from posthorse.store.watch import make_watch
from posthorse.worker.failpoints import failpoint
from posthorse.worker.here import Here
from posthorse.worker.isolation.cells import Cells
from posthorse.worker.lanes import LaneBook
from posthorse.worker.outbox import Outbox
from posthorse.worker.prefetch import Prefetch
from posthorse.worker.running import Running
from posthorse.worker.single import OneJob
from posthorse.worker.slots import Slots

log = logging.getLogger("posthorse.worker")

LANES_EVERY = 0.05
NEWS_EVERY = 0.9
"""Seconds after which an idle runner looks before it claims: a queue that was paused is left alone within a second."""

REQUESTS_EVERY = 0.5
RETRY_FIRST, RETRY_LONGEST = 0.1, 5.0
LONGEST_HOLD, HOLD_EVERY = 5.0, 30.0
"""Seconds for which nothing is begun so that a suspect gets its turn, and how often at most."""

LAST_WORDS = 1.0
"""Seconds in which cancelled jobs may still clean up after the grace."""

MOST_PATIENCE = 10.0
"""Seconds after which a cancelled or timed-out job that does not listen is ended by force; the grace, if shorter."""


Suspects = Literal["never", "when empty", "only"]
"""Which runners take suspects: none, whenever nothing else runs in it, or nothing else at all."""


class Loop:
    """Runs jobs of one runner until it is told to stop. Must be made inside a running event loop."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        runner: Runner,
        *,
        suspects: Suspects = "when empty",
        only: OneJob | None = None,
        target: str | None = None,
        is_replaceable: bool = False,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._runner = runner
        self._suspects: Suspects = suspects
        self._only = only
        self._is_replaceable = is_replaceable
        self._is_lost_elsewhere = lost
        self._book = LaneBook(self._serves, keeps_marks=not store.is_sqlite, labels=as_labels(list(runner.labels)))
        self._prefetch = Prefetch(runner.concurrency)
        longest = settings.lease / 3
        self._here = Here(store, concurrency=runner.concurrency, longest_transaction=longest)
        self._cells = Cells(store, target=target, longest_transaction=longest)
        self._slots = Slots(
            runner.concurrency, prepare=self._prepare, ended=self._ended, freed=self._wake_if_there_is_room
        )
        self._outbox = Outbox(store, settings, runner, written=self._wake_if_there_is_room)
        self._watch = make_watch(store)
        self._patience = min(settings.grace, MOST_PATIENCE)
        self.is_spoilt = False
        """True when a job was given up whose code still runs here: this process should be replaced."""
        self._is_stopping = False
        self._may_hold_more = False
        self._runs_suspect = False
        self._holds_until = 0.0
        self._next_hold = 0.0
        self._ended_before = 0
        self._is_idle = False
        self._looked_at = -math.inf
        self._heard_changes: int | None = None
        self._has_room = asyncio.Event()
        self._is_empty = asyncio.Event()

    # ── the outside ──────────────────────────────────────────────────────────────────────────────────

    @property
    def running_count(self) -> int:
        """How many jobs have begun and not ended."""
        return len(self._slots.running)

    @property
    def is_lost(self) -> bool:
        """True when what this runner holds and what it knows have parted: its lease is over, or it had to give up."""
        return self._is_lost_elsewhere() or self._outbox.has_given_up

    async def run(self) -> None:
        """Works until `stop`, or until it is lost; then hands in everything that is left."""
        async with self._watch:
            handing_in = asyncio.create_task(self._outbox.run())
            listening = asyncio.create_task(self._listen_forever())
            try:
                await self._claim_until_stopped()
                await self._drain()
            finally:
                listening.cancel()
                await self._outbox.close()
                await handing_in
                await self._here.close()
                await self._cells.close()

    def stop(self) -> None:
        """No more claims; jobs with checkpoints stop at the next, the others run to their end or the grace."""
        self._is_stopping = True
        for running in self._slots.running.values():
            if running.has_checkpoints:
                running.ask("shutdown")
        self._has_room.set()
        self._watch.wake()

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
                self._watch.clear()
                if self._may_hold_more:
                    await self._return_what_is_unknown()
                if not await self._claim(room):
                    await self._wait_for_work()
                failures = 0
            except PosthorseError as error:
                failures += 1
                self._may_hold_more = self._may_hold_more or isinstance(error, OutcomeUnknown)
                pause = random.uniform(0.5, 1) * min(RETRY_LONGEST, RETRY_FIRST * 2**failures)
                log.warning("cannot claim jobs: %s; looking again in %.1f s", error, pause)
                await self._watch.wait(pause)

    def _room(self) -> int:
        """How many jobs to ask for now; 0 for none yet."""
        load = self._slots.load
        concurrency = self._runner.concurrency - self._slots.spoilt
        if concurrency <= 0 or self._runs_suspect or self._outbox.is_full:
            return 0
        if load and time.monotonic() < self._holds_until:
            return 0
        if self._suspects == "only" or self._only is not None:
            return 0 if load else 1
        capacity = concurrency + self._prefetch.allowance()
        room = capacity - load
        # Ask in batches: with a backlog, wait until half of it is gone. What is about to begin is none.
        has_backlog = load > concurrency
        return room if room > 0 and (not has_backlog or room * 2 >= capacity) else 0

    async def _claim(self, room: int) -> bool:
        """Claims and begins up to `room` jobs; false when there were none."""
        looks_first = time.monotonic() - self._looked_at >= (NEWS_EVERY if self._is_idle else LANES_EVERY)
        if looks_first:
            await self._hears_news()
        if not self._is_idle:
            await self._hear_ages()
        claimed = await self._claim_next(room)
        if not claimed and not (looks_first and self._is_idle) and await self._hears_news():
            claimed = await self._claim_next(room)
        if not claimed:
            return False
        failpoint("after_claim")
        if self._is_stopping:  # told so while the claim was under way
            await self._outbox.give_back([(job.job, job.epoch) for job in claimed])
            return True
        if self._is_idle and len(claimed) > 1:
            await self._say_idle(False)
        claimed.sort(key=self._by_priority)
        self._slots.add(claimed)
        return True

    async def _claim_next(self, room: int) -> list[Claimed]:
        if self._only is not None:
            await self._hears_news()
            return await self._only.claim(self._store, self._runner.id)
        if self._suspects != "never" and not self._slots.load:
            # A suspect runs alone: it is claimed by an empty runner, which takes nothing else meanwhile.
            suspect = await self._claim_from(self._book.solo_probes(), 1)
            self._runs_suspect = bool(suspect)
            if suspect or self._suspects == "only":
                return suspect
        began = time.monotonic()
        claimed = await self._claim_from(self._book.probes(began), room)
        now = time.monotonic()
        self._book.note(claimed, room=room, now=now, seconds=now - began)
        return claimed

    async def _claim_from(self, probes: Sequence[Probe], room: int) -> list[Claimed]:
        if not probes:
            return []
        if self._is_idle and self._store.is_sqlite and not await self._store.aread(shares(probes, 1)):
            return []  # somebody else's write woke us: looking costs no turn at the one write lock
        if not self._book.takes_turns:
            return await self._store.arun(claim(self._runner.id, probes, room))
        lines, weights, passes = self._book.lines(probes), self._book.weights, self._book.passes
        claimed, waiting = await self._store.arun(claim_by_turns(self._runner.id, probes, room, lines, weights, passes))
        self._book.take_note_of_turns(claimed, lines, waiting)
        return claimed

    async def _return_what_is_unknown(self) -> None:
        """After a claim whose reply was lost: what it gave this runner is found by asking, and goes back unspent."""
        held = await self._store.aread(held_by(self._runner.id))
        known = {*self._slots.running, *(claimed.job for claimed in self._slots.backlog), *self._outbox.jobs}
        await self._outbox.give_back([(lease.job, lease.epoch) for lease in held if lease.job not in known])
        self._may_hold_more = False

    def _by_priority(self, claimed: Claimed) -> int:
        return -self._book[claimed.lane].priority

    async def _hears_news(self) -> bool:
        """Looks for lanes and for what was said of queues since the last look; true when there is more to serve."""
        self._looked_at = time.monotonic()
        heard = await self._store.aread(news(self._book.known))
        if heard.changes != self._heard_changes:
            self._book.obey(self._registry.queues.settings(await self._store.aread(live_layers())))
            self._heard_changes = heard.changes
        is_open = self._book.open_at(heard.now)
        return self._book.add(heard.lanes) or is_open

    async def _hear_ages(self) -> None:
        """Once a second: how long lanes wait that others of higher priority may starve."""
        probes = self._book.ageing_probes(time.monotonic())
        if probes:
            self._book.age(await self._store.aread(waits(probes)))

    def _serves(self, lane: Lane) -> bool:
        return lane.kind in self._registry and (not self._runner.queues or lane.queue in self._runner.queues)

    async def _wait_for_work(self) -> None:
        """Waits to be woken, at most until the next look."""
        if self._is_idle:
            has_news = await self._watch.wait(self._settings.poll)
            if self._suspects == "only" and not has_news:
                self.stop()  # all suspects are tried
        else:
            # Look once more after saying so: a job that was enqueued in between told nobody.
            await self._say_idle(True)

    async def _say_idle(self, idle: bool) -> None:
        self._is_idle = idle
        if not self._store.is_sqlite:
            await self._store.arun(set_idle(self._runner.id, idle=idle))

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self, claimed: Claimed) -> Running:
        lane = self._book[claimed.lane]
        kind = self._registry[lane.kind]
        place = self._cells if kind.is_isolated else self._here
        return Running(claimed, lane, kind, place, self._book.settings(lane.queue))

    def _ended(self, running: Running, outcome: Outcome) -> None:
        self._prefetch.observe(time.monotonic() - running.began)
        self._outbox.put(running, outcome)
        if not self._slots.load:
            self._runs_suspect = False
        self._tell_if_drained()
        self._wake_if_there_is_room()

    def _tell_if_drained(self) -> None:
        # Nobody waits for a job whose lease is lost: its end changes nothing.
        if all(running.stop.request == "lost" for running in self._slots.running.values()):
            self._is_empty.set()

    def _wake_if_there_is_room(self) -> None:
        if not self._has_room.is_set() and self._room() > 0:
            self._has_room.set()

    # ── listening ────────────────────────────────────────────────────────────────────────────────────

    async def _listen_forever(self) -> None:
        while True:
            await asyncio.sleep(REQUESTS_EVERY)
            try:
                await self._listen()
            except PosthorseError as error:
                log.warning("cannot hear what is asked of jobs: %s", error)

    async def _listen(self) -> None:
        """Hears within a second what is asked of running jobs, and returns a backlog that does not move."""
        if self.is_lost:
            self._lose_all()
        elif self._slots.running:
            if self._slots.backlog and self._prefetch.observed == self._ended_before:
                await self._outbox.give_back(self._slots.empty_backlog())
            self._ended_before = self._prefetch.observed
            self._end_what_does_not_listen()
            await self._hear_requests()
            await self._miss_lost_leases()
            await self._hold_for_suspects()

    async def _hear_requests(self) -> None:
        asked = await self._store.aread(requests_for(self._runner.id))
        for job, running in list(self._slots.running.items()):
            request = asked.get(job)
            if request is None:
                running.withdraw_pause()
            elif request == "cancel":
                running.cancel()
            else:
                running.ask(request)

    async def _miss_lost_leases(self) -> None:
        """A job whose lease was taken away, as by a forced stop, is told to stop: what it does counts for nothing."""
        long_ago = time.monotonic() - REQUESTS_EVERY
        running = [running for running in self._slots.running.values() if running.began < long_ago]
        if not running:
            return
        held = await self._store.aread(still_held([(one.claimed.job, one.claimed.epoch) for one in running]))
        for one in running:
            if one.claimed.job not in held and self._slots.running.get(one.claimed.job) is one:
                one.interrupt("lost")
        self._tell_if_drained()

    def _end_what_does_not_listen(self) -> None:
        """A job that was cancelled or took too long, and went on, ends by force, or counts as ended."""
        now = time.monotonic()
        for running in list(self._slots.running.values()):
            verdict = running.overdue(now, self._patience)
            if verdict is None or running.verdict is not None or running.stop.request == "lost":
                continue
            running.verdict = verdict
            job, kind = running.claimed.job, running.kind.kind
            if running.place.end(running):
                log.warning("job %s (%s) did not end when it was to; its process is killed", job, kind)
                continue
            log.error("job %s (%s) did not end when it was to, and counts as ended; its code still runs", job, kind)
            self._slots.abandon(running, verdict)
            if self._is_replaceable and not self.is_spoilt:
                log.error("this runner ends once its other jobs do, and is replaced: that code takes a place in it")
                self.is_spoilt = True
                self.stop()

    async def _hold_for_suspects(self) -> None:
        """Without a runner of their own, suspects wait for a moment in which this one is empty: it is made."""
        now = time.monotonic()
        probes = self._book.solo_probes() if self._suspects == "when empty" else ()
        if probes and now >= self._next_hold:
            waiting = await self._store.aread(shares(probes, 1))
            if waiting:
                self._holds_until, self._next_hold = now + LONGEST_HOLD, now + HOLD_EVERY

    def _lose_all(self) -> None:
        """The lease was lost: nothing that runs here counts any more, and nothing more is claimed."""
        self._slots.empty_backlog()
        for running in list(self._slots.running.values()):
            if running.stop.request != "lost":
                running.interrupt("lost")
        if not self._is_stopping:
            log.error("the lease of this runner is lost; it stops")
            self.stop()

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        """Running jobs end, stop at a checkpoint, or are cancelled when the grace is over."""
        await self._outbox.give_back(self._slots.close())
        if await self._becomes_empty(0 if self.is_lost else self._settings.grace):
            return
        log.warning("%d jobs did not end within the grace; they go back unspent", self.running_count)
        for running in list(self._slots.running.values()):
            running.interrupt("shutdown")
        if await self._becomes_empty(LAST_WORDS):
            return
        # What is left ignores everything. Isolated jobs are killed. Others are released: this process ends, or the
        # fence refuses what they write.
        for running in list(self._slots.running.values()):
            running.verdict = Stopped("shutdown")
            if not running.place.end(running) and running.stop.request != "lost":
                await self._outbox.settle(running, running.verdict)
                del self._slots.running[running.claimed.job]
        await self._becomes_empty(LAST_WORDS)

    async def _becomes_empty(self, seconds: float) -> bool:
        self._is_empty.clear()
        self._tell_if_drained()
        try:
            await asyncio.wait_for(self._is_empty.wait(), seconds)
        except TimeoutError:
            return False
        return True
