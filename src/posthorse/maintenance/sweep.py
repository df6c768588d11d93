"""The sweep: jobs whose time has come are lined up, and the jobs of dead runners are freed.

One process at a time has the duty; any other takes it over when it falls silent.
"""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec

from posthorse.errors import PosthorseError
from posthorse.rules.lifecycle import Lost, Outcome, Policy, decide
from posthorse.store.operations.finish import Attempt, settle
from posthorse.store.operations.runners import (
    Held,
    bury_expired,
    leave_duty,
    next_due,
    orphans,
    promote,
    take_duty,
)
from posthorse.store.store import Store
from posthorse.worker.failpoints import failpoint

log = logging.getLogger("posthorse.maintenance")

DUTY = "sweep"
LOOK_EVERY = 0.25
MOST_AT_ONCE = 1000
RESCUES_AT_ONCE = 100
LONGEST_RECONNECT = 2.5
"""Seconds that others may need to beat again after the store was away."""


class Sweeper:
    """Sweeps while it has the duty."""

    def __init__(self, store: Store, holder: str, *, lease: float, policy: Policy) -> None:
        self._store = store
        self._holder = holder
        self._span = max(2.0, lease / 3)
        self._sweep_every = min(lease / 6, 5.0)
        self._patience = max(1.0, lease / 6)
        self._clemency = max(LONGEST_RECONNECT, lease / 3)
        self._policy = policy
        self._duty_until = 0.0
        self._swept_at = time.monotonic()
        self._judges_from = 0.0

    async def run_forever(self) -> None:
        """Sweeps until cancelled; gives the duty up then."""
        try:
            while True:
                try:
                    pause = await self._turn()
                except PosthorseError as error:
                    log.warning("cannot sweep: %s", error)
                    pause = self._span / 2
                except Exception:  # one job that cannot be dealt with must not end the sweep for all
                    log.exception("cannot sweep")
                    pause = self._span
                await asyncio.sleep(pause)
        finally:
            if self._duty_until > time.monotonic():
                await asyncio.shield(self._leave())

    async def _turn(self) -> float:
        """What is to be done now; answers with the seconds until the next turn."""
        now = time.monotonic()
        if now >= self._duty_until - self._span / 2 and not await self._take_duty():
            self._swept_at = time.monotonic()  # whoever has no duty is not held up
            return self._span / 4
        due = await self._store.aread(next_due())
        while due is not None and due <= 0:
            moved = await self._store.arun(promote(MOST_AT_ONCE, channel=self._store.backend.channel))
            due = await self._store.aread(next_due()) if moved else None
        if time.monotonic() - self._swept_at >= self._sweep_every:
            await self._sweep()
        return LOOK_EVERY if due is None else min(LOOK_EVERY, max(0.001, due / 1_000_000))

    async def _take_duty(self) -> bool:
        began = time.monotonic()
        taken = await self._store.arun(take_duty(DUTY, self._holder, span=round(self._span * 1_000_000)))
        self._duty_until = began + self._span if taken else 0.0
        return taken

    async def _leave(self) -> None:
        try:
            await self._store.arun(leave_duty(DUTY, self._holder))
        except PosthorseError as error:
            log.debug("the duty runs out by itself: %s", error)

    async def _sweep(self) -> None:
        # Whoever was held up itself, by a lock, a store that was away or a stopped machine, lets the others beat once
        # before it judges.
        now = time.monotonic()
        if now - self._swept_at > self._sweep_every + self._patience:
            self._judges_from = now + self._clemency
        self._swept_at = now
        if now >= self._judges_from:
            for runner, worker in await self._store.arun(bury_expired(grace=0, until=now + self._patience)):
                log.warning("runner %s of worker %s fell silent; its jobs go to others", runner, worker)
            if time.monotonic() > now + self._patience:
                return
        while lost := await self._store.aread(orphans(RESCUES_AT_ONCE)):
            for held in lost:
                await rescue(self._store, held, Lost("its worker fell silent"), self._policy)
        self._swept_at = time.monotonic()


async def rescue(store: Store, held: Held, outcome: Outcome, policy: Policy) -> None:
    """Ends a lease that its runner cannot end any more, and sends the job where the outcome leads."""
    failpoint("before_rescue")
    transition = decide(held.spent, outcome, policy)
    evidence = {"detail": transition.reason}
    if transition.error is not None:
        evidence |= msgspec.to_builtins(transition.error)
    await store.arun(
        settle(
            Attempt(held.job, held.epoch),
            transition,
            held.lane,
            msgspec.json.encode(evidence).decode(),
            channel=store.backend.channel,
        )
    )
