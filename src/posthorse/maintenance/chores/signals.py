"""Forget expired events that jobs may wait for, and look for jobs that missed one."""

from __future__ import annotations

from posthorse.maintenance.chores.expired import ForgetExpired
from posthorse.store.operations.signals import forget_expired_signals, wake_missed


class TendSignals(ForgetExpired):
    """Events, and the jobs that listen to them."""

    name = "forget expired events"

    async def forget(self, limit: int) -> int:
        return await self._store.arun(forget_expired_signals(limit))

    async def look_further(self) -> None:
        await self._store.arun(wake_missed())
