"""Rescue the jobs of workers that fell silent: their leases end, and the lifecycle decides what follows."""

from __future__ import annotations

import logging
from typing import cast

import msgspec

from posthorse.clock import monotonic
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.base import Chore
from posthorse.rules.events import Ending, Rescued
from posthorse.rules.lifecycle import Policy, decide
from posthorse.rules.outcomes import Lost, Outcome
from posthorse.rules.tallies import what_happened
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Settlement, settle
from posthorse.store.operations.runners import Held, NextDue, orphans, rescue_expired
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

RESCUES_AT_ONCE = 100
MAX_SILENT = 1_000
"""How many removed runners it remembers, for the evidence of jobs that it rescues later."""

MAX_RECONNECT = 2.5
"""Seconds that other processes may need to send a heartbeat again after the store was away."""


class RescueFromSilentWorkers(Chore):
    """Due every few seconds. If this process was held up itself, it first lets others send a heartbeat."""

    name = "rescue jobs from workers that fell silent"

    def __init__(self, store: Store, *, lease: float, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._interval = min(lease / 6, 5.0)
        self._patience = max(1.0, lease / 6)
        self._clemency = max(MAX_RECONNECT, lease / 3)
        self._ran_at = monotonic()
        self._judges_from = 0.0
        self._silent: dict[str, str] = {}
        """Runners that it removed, with their workers: their jobs are rescued next."""

    def due_in(self, look: NextDue | None) -> float:
        return self._ran_at + self._interval - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        # A lock, a store that was away or a stopped machine may have held up this process, and others too.
        now = monotonic()
        if now - self._ran_at > self._interval + self._patience:
            self._judges_from = now + self._clemency
        self._ran_at = now
        if now >= self._judges_from:
            for runner, worker in await self._store.arun(rescue_expired(grace=0, until=now + self._patience)):
                log.warning("runner %s of worker %s fell silent; its jobs go to others", runner, worker)
                self._silent[runner] = worker
            while len(self._silent) > MAX_SILENT:
                del self._silent[next(iter(self._silent))]
            if monotonic() > now + self._patience:
                return look
        while lost := await self._store.aread(orphans(RESCUES_AT_ONCE)):
            for held in lost:
                whose = self._silent.get(held.runner)
                await rescue(self._store, held, Lost("its worker fell silent"), self._policy, worker=whose)
        self._ran_at = monotonic()
        return look

    def stand_by(self) -> None:
        self._ran_at = monotonic()  # a process that does not lead is not held up

    def clock_was_set(self) -> None:
        self._judges_from = monotonic() + self._clemency  # leases may have ended because of the step alone


async def rescue(store: Store, held: Held, outcome: Outcome, policy: Policy, *, worker: str | None = None) -> None:
    """End a lease that its runner can no longer end, and move the job to where the outcome leads.

    `worker` is the worker of the runner, if the runner is no longer on the list.
    """
    failpoint("before_rescue")
    transition = decide(held.spent, outcome, policy)
    evidence: dict[str, object] = {"detail": transition.reason}
    if worker is not None:
        evidence["worker"] = worker
    if transition.error is not None:
        evidence |= msgspec.to_builtins(transition.error)
    attempt = Fence(held.job, held.epoch, held.runner)
    happened = what_happened(cast("Ending", type(outcome).__name__.lower()), transition.state)
    detail = msgspec.json.encode(evidence).decode()
    applied = await store.arun(settle(Settlement(attempt, transition, held.lane, detail, happened=happened)))
    if applied and store.emitter.rescued:
        event = Rescued(
            job=held.job,
            kind=held.lane.kind,
            queue=held.lane.queue,
            tenant=held.lane.tenant or None,
            runner=held.runner,
            state=transition.state,
            reason=transition.reason,
        )
        store.emitter.emit(event)
