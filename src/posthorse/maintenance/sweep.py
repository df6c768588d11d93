"""The sweep: jobs whose time has come are lined up, the jobs of dead runners are freed, expired keys are forgotten.

One process at a time leads; any other takes it over when it falls silent.
"""

from __future__ import annotations

import asyncio
import logging
import math

import msgspec

from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
from posthorse.maintenance.dead_letters import DeadLetterLooks
from posthorse.rules.lifecycle import Lost, Outcome, Policy, decide
from posthorse.store.operations.finish import Fence, settle
from posthorse.store.operations.gates import gates_to_tend, neglected_gates, tend_gates
from posthorse.store.operations.keys import forget_expired_keys
from posthorse.store.operations.runners import (
    Held,
    NextDue,
    leave_duty,
    next_due,
    orphans,
    promote,
    rescue_expired,
    take_duty,
)
from posthorse.store.operations.set_back import FIRST, Place, after_set_back, is_set_back, move_lined_up
from posthorse.store.store import Store
from posthorse.store.watching import make_watch_of_writes
from posthorse.worker.failpoints import failpoint

log = logging.getLogger("posthorse.maintenance")

DUTY = "sweep"
MAX_LOOK = 2.0
"""Seconds between two looks for what is due when nothing was written: a clock that is put forward tells nobody."""

CLOSEST_LOOKS = 0.04
"""Seconds between two looks at least, however much is written: by so much may a job with a shorter delay be late."""

LOOK_WHEN_BLIND = 0.25
"""Seconds between two looks where nothing tells of writes."""

LOOK_WHEN_IDLE = 1.0
"""The same once nothing waits for its time any more: by so much may the next job with a shorter delay be late."""

MAX_AT_ONCE = 1000
RESCUES_AT_ONCE = 100
MAX_SILENT = 1_000
KEYS_INTERVAL = 30.0
"""Seconds between two looks for expired keys; nobody waits for them to go, for they count no more."""

KEYS_PACE = 0.1
"""Seconds until the next batch of them, so that a million of them hold up nobody."""

GATES_AT_ONCE = 200
TEND_INTERVAL = 1.0
"""Seconds between two looks at gates before which jobs are held, beside those for new tokens."""

TEND_WHEN_FREE = 60.0
"""The same while none are held: gates that are not used any more are forgotten."""

TEND_SHARE = 20
"""A look that took t seconds is followed by another after 20 t."""

STEP = 1_000_000
"""Microseconds by which the store's clock must leave the one of this machine's boot to count as set."""

MAX_RECONNECT = 2.5
"""Seconds that others may need to beat again after the store was away."""


class Sweeper:
    """Sweeps while it leads. With `dead_letters` it looks after those in time, too."""

    def __init__(
        self,
        store: Store,
        holder: str,
        *,
        lease: float,
        policy: Policy,
        dead_letters: DeadLetterLooks | None = None,
    ) -> None:
        self._store = store
        self._holder = holder
        self._span = max(2.0, lease / 3)
        self._sweep_every = min(lease / 6, 5.0)
        self._patience = max(1.0, lease / 6)
        self._clemency = max(MAX_RECONNECT, lease / 3)
        self._policy = policy
        self._dead_letters = dead_letters
        self._watch = make_watch_of_writes(store, closest=CLOSEST_LOOKS, blind=LOOK_WHEN_BLIND)
        self._duty_until = 0.0
        self._swept_at = monotonic()
        self._judges_from = 0.0
        self._silent: dict[str, str] = {}
        """Runners that were taken off the list here, with their workers: their jobs are rescued next."""
        self._forgets_at = monotonic() + KEYS_INTERVAL
        self._tended_at = monotonic()
        self._tend_every = TEND_INTERVAL
        self._ahead: tuple[int, int] | None = None
        """How far the store's clock is ahead of the one since this machine's boot, which nothing sets; and by how much
        that may be wrong."""

    async def run_forever(self) -> None:
        """Sweeps until cancelled; gives the leadership up then."""
        try:
            async with self._watch:
                await self._sweep_forever()
        finally:
            if self._has_duty:
                await asyncio.shield(self._leave())

    async def _sweep_forever(self) -> None:
        while True:
            try:
                self._watch.clear()
                pause = min(await self._turn(), await self._look_at_dead_letters())
            except PosthorseError as error:
                log.warning("cannot sweep: %s", error)
                await asyncio.sleep(self._span / 2)
            except Exception:  # one job that cannot be dealt with must not end the sweep for all
                log.exception("cannot sweep")
                await asyncio.sleep(self._span)
            else:
                # Without the leadership, what is written is the affair of whoever has it.
                await (self._watch.wait(pause) if self._has_duty else asyncio.sleep(pause))

    async def _turn(self) -> float:
        """What is to be done now; answers with the seconds until the next turn."""
        now = monotonic()
        if now >= self._duty_until - self._span / 2 and not await self._take_duty():
            self._swept_at = monotonic()  # whoever has no leadership is not held up
            self._ahead = None
            return self._span / 4
        due = await self._next_due()
        while due.job is not None and due.job <= 0:
            moved = await self._store.arun(promote(MAX_AT_ONCE, channel=self._store.backend.channel))
            due = await self._store.aread(next_due()) if moved else due._replace(job=None)
        if self._gates_are_due(due):
            await self._tend_gates()
            due = await self._store.aread(next_due())
        if monotonic() - self._swept_at >= self._sweep_every:
            await self._sweep()
        if monotonic() >= self._forgets_at:
            await self._forget_keys()
        is_idle = due.job is None and due.gate is None and not due.has_held
        self._watch.blind = min(2 * self._watch.blind, LOOK_WHEN_IDLE) if is_idle else LOOK_WHEN_BLIND
        return self._until_next_turn(due)

    async def _next_due(self) -> NextDue:
        """When something is due; notices on the way that the store's clock was set."""
        clock = self._store.clock
        before = clock.boot_now()
        due = await self._store.aread(next_due())
        took = clock.boot_now() - before
        known, self._ahead = self._ahead, (due.now - before, took)
        if known is None:
            was_set_back = await self._store.aread(is_set_back(due.now))
        else:
            step = self._ahead[0] - known[0]
            if abs(step) <= STEP + took + known[1]:
                return due
            was_set_back = step < 0
            self._judges_from = monotonic() + self._clemency  # leases may have ended by the step alone
        if was_set_back:
            log.warning("the store's clock was set back; what waits for a span is due as much earlier")
            for part in after_set_back(due.now):
                while await self._store.arun(part):
                    pass
            place: Place | None = FIRST
            while place is not None:
                place = await self._store.arun(move_lined_up(due.now, place))
            await self._tend_gates()
            due = await self._store.aread(next_due())
        return due

    async def _look_at_dead_letters(self) -> float:
        """Answers with the seconds until the next look."""
        if self._dead_letters is None:
            return math.inf
        await self._dead_letters.look_in_time(has_duty=self._has_duty)
        return max(0.001, self._dead_letters.next_in)

    def _until_next_turn(self, due: NextDue) -> float:
        """Seconds until the next thing to do, if nothing is written before: a due job, the leadership, a sweep."""
        now = monotonic()
        renewal = self._duty_until - self._span / 2 - now
        sweep = self._swept_at + self._sweep_every - now
        gates = self._tended_at + self._tend_every - now if due.has_held else MAX_LOOK
        coming = [each / 1_000_000 for each in (due.job, due.gate) if each is not None]
        return max(0.001, min([MAX_LOOK, renewal, sweep, gates, self._forgets_at - now, *coming]))

    def _gates_are_due(self, due: NextDue) -> bool:
        is_token_due = due.gate is not None and due.gate <= 0
        every = self._tend_every if due.has_held else TEND_WHEN_FREE
        return is_token_due or monotonic() >= self._tended_at + every

    async def _tend_gates(self) -> None:
        """Lines up jobs that are held before gates with room: for a new token, or where whoever left could not tell."""
        began = monotonic()
        gates = await self._store.aread(gates_to_tend(GATES_AT_ONCE))
        neglected = await self._store.aread(neglected_gates(GATES_AT_ONCE))
        await self._store.arun(tend_gates(gates, neglected, channel=self._store.backend.channel))
        self._tended_at = monotonic()
        self._tend_every = max(TEND_INTERVAL, TEND_SHARE * (self._tended_at - began))

    @property
    def _has_duty(self) -> bool:
        return self._duty_until > monotonic()

    async def _take_duty(self) -> bool:
        began = monotonic()
        taken = await self._store.arun(take_duty(DUTY, self._holder, span=round(self._span * 1_000_000)))
        self._duty_until = began + self._span if taken else 0.0
        return taken

    async def _leave(self) -> None:
        try:
            await self._store.arun(leave_duty(DUTY, self._holder))
        except PosthorseError as error:
            log.debug("the leadership runs out by itself: %s", error)

    async def _sweep(self) -> None:
        # Whoever was held up itself, by a lock, a store that was away or a stopped machine, lets the others beat once
        # before it judges.
        now = monotonic()
        if now - self._swept_at > self._sweep_every + self._patience:
            self._judges_from = now + self._clemency
        self._swept_at = now
        if now >= self._judges_from:
            for runner, worker in await self._store.arun(rescue_expired(grace=0, until=now + self._patience)):
                log.warning("runner %s of worker %s fell silent; its jobs go to others", runner, worker)
                self._silent[runner] = worker
            while len(self._silent) > MAX_SILENT:
                del self._silent[next(iter(self._silent))]
            if monotonic() > now + self._patience:
                return
        while lost := await self._store.aread(orphans(RESCUES_AT_ONCE)):
            for held in lost:
                whose = self._silent.get(held.runner)
                await rescue(self._store, held, Lost("its worker fell silent"), self._policy, worker=whose)
        self._swept_at = monotonic()

    async def _forget_keys(self) -> None:
        forgotten = await self._store.arun(forget_expired_keys(MAX_AT_ONCE))
        self._forgets_at = monotonic() + (KEYS_PACE if forgotten == MAX_AT_ONCE else KEYS_INTERVAL)


async def rescue(store: Store, held: Held, outcome: Outcome, policy: Policy, *, worker: str | None = None) -> None:
    """Ends a lease that its runner cannot end any more, and sends the job where the outcome leads.

    `worker` is whose runner it was, where that is not on the list any more.
    """
    failpoint("before_rescue")
    transition = decide(held.spent, outcome, policy)
    evidence: dict[str, object] = {"detail": transition.reason}
    if worker is not None:
        evidence["worker"] = worker
    if transition.error is not None:
        evidence |= msgspec.to_builtins(transition.error)
    await store.arun(
        settle(
            Fence(held.job, held.epoch, held.runner),
            transition,
            held.lane,
            msgspec.json.encode(evidence).decode(),
            channel=store.backend.channel,
        )
    )
