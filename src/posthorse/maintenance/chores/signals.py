"""Forget expired events that jobs may wait for, and look for jobs that missed one."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.signals import forget_expired_signals, wake_missed
from posthorse.store.store import Store


class TendSignals(Chore):
    """Due every half minute."""

    name = "forget expired events"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tuning = store.tuning
        self._due_at = monotonic() + self._tuning.keys_interval

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        tuning = self._tuning
        forgotten = await self._store.arun(forget_expired_signals(tuning.keys_at_once))
        may_be_more = forgotten == tuning.keys_at_once
        if not may_be_more:
            await self._store.arun(wake_missed())
        self._due_at = monotonic() + (tuning.keys_pause if may_be_more else tuning.keys_interval)
        return look
