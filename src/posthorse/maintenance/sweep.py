"""The sweep: one process at a time leads and runs the chores that are due; another takes over when it falls silent.

In a turn the process takes or renews the leadership, queries what is due, runs each due chore, and waits until the next
one is due, or until a write may have made one due earlier. The chores are in `maintenance/chores`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from posthorse.clock import SECOND, monotonic
from posthorse.errors import PosthorseError, StoreUnreachable
from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.clock_steps import ClockSteps
from posthorse.store.operations.runners import NextDue, leave_leadership, take_leadership
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

LEADERSHIP = "sweep"
CLOSEST_LOOKS = 0.04
"""Minimum seconds between two looks, whatever is written; a job with a shorter delay may be this late."""

LOOK_WHEN_BLIND = 0.25
"""Seconds between two looks if writes cannot be noticed."""

LOOK_WHEN_IDLE = 1.0
"""Seconds between two looks once no job is scheduled; the next job with a shorter delay may be this late."""


class Sweeper:
    """Run due chores while this process leads, and always those that every process runs."""

    def __init__(self, store: Store, holder: str, chores: Sequence[Chore], *, lease: float) -> None:
        self._store = store
        self._holder = holder
        self._chores = chores
        self._span = max(2.0, lease / 3)
        self._max_pause = store.tuning.max_sweep_pause
        self._clock_steps = ClockSteps(store)
        self._watch = store.backend.notifier.subscribe_to_writes(store, closest=CLOSEST_LOOKS, blind=LOOK_WHEN_BLIND)
        self._leads_until = 0.0
        self._resting: dict[Chore, float] = {}
        """Chores that failed, with the time of the next try."""

    @property
    def leads(self) -> bool:
        """Whether this process has the leadership."""
        return self._leads_until > monotonic()

    async def run_forever(self) -> None:
        """Sweep until cancelled, then give up the leadership."""
        try:
            async with self._watch:
                await self._sweep_forever()
        finally:
            if self.leads:
                await asyncio.shield(self._stop_leading())

    async def _sweep_forever(self) -> None:
        while True:
            try:
                self._watch.clear()
                pause = await self._turn()
            except PosthorseError as error:
                log.warning("cannot sweep: %s", error)
                await asyncio.sleep(self._span / 2)
            except Exception:
                log.exception("cannot sweep")
                await asyncio.sleep(self._span)
            else:
                # A process that does not lead need not react to writes.
                await (self._watch.wait(pause) if self.leads else asyncio.sleep(pause))

    async def _turn(self) -> float:
        """Run what is due; return the seconds until the next turn."""
        if monotonic() >= self._leads_until - self._span / 2 and not await self._lead():
            return await self._follow()
        look = await self._look()
        for chore in self._chores:
            if chore.due_in(look) <= 0:
                look = await self._run(chore, look) or look
        is_idle = look.job is None and look.gate is None and not look.has_held
        self._watch.blind = min(2 * self._watch.blind, LOOK_WHEN_IDLE) if is_idle else LOOK_WHEN_BLIND
        until_renewal = self._leads_until - self._span / 2 - monotonic()
        return max(0.001, min([self._max_pause, until_renewal, *(self._due_in(chore, look) for chore in self._chores)]))

    async def _follow(self) -> float:
        """Run the chores of every process while another one leads; return the seconds until the next turn."""
        self._clock_steps.forget()
        own = [chore for chore in self._chores if chore.by_every_process]
        for chore in self._chores:
            chore.stand_by()
        for chore in own:
            if chore.due_in(None) <= 0:
                await self._run(chore, None)
        return max(0.001, min([self._span / 4, *(self._due_in(chore, None) for chore in own)]))

    async def _look(self) -> NextDue:
        """Query what is due; notice a step of the clock."""
        look, was_set = await self._clock_steps.look()
        if was_set:
            for chore in self._chores:
                chore.clock_was_set()
        return look

    async def _run(self, chore: Chore, look: NextDue | None) -> NextDue | None:
        """Run a chore. If it fails, it rests for a while, and the others go on."""
        if self._resting.get(chore, 0.0) > monotonic():
            return look
        try:
            return await chore.run(look)
        except StoreUnreachable:
            raise
        except PosthorseError as error:
            log.warning("cannot %s: %s", chore.name, error)
            self._resting[chore] = monotonic() + self._span / 2
        except Exception:
            log.exception("cannot %s", chore.name)
            self._resting[chore] = monotonic() + self._span
        return look

    def _due_in(self, chore: Chore, look: NextDue | None) -> float:
        return max(chore.due_in(look), self._resting.get(chore, 0.0) - monotonic())

    async def _lead(self) -> bool:
        """Take or renew the leadership; False if another process has it."""
        began = monotonic()
        taken = await self._store.arun(take_leadership(LEADERSHIP, self._holder, span=round(self._span * SECOND)))
        self._leads_until = began + self._span if taken else 0.0
        return taken

    async def _stop_leading(self) -> None:
        try:
            await self._store.arun(leave_leadership(LEADERSHIP, self._holder))
        except PosthorseError as error:
            log.debug("the leadership ends by itself: %s", error)
