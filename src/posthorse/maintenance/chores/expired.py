"""Forget what expired, some at a time. It no longer counts, so this only frees space."""

from __future__ import annotations

from abc import abstractmethod

from posthorse.clock import monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.runners import NextDue
from posthorse.store.store import Store


class ForgetExpired(Chore):
    """Due every half minute, and soon again if there may be more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tuning = store.tuning
        self._due_at = monotonic() + self._tuning.keys_interval

    @abstractmethod
    async def forget(self, limit: int) -> int:
        """Forget as many as that at most; return how many were forgotten."""

    async def look_further(self) -> None:
        """Do what is due once nothing expired is left."""

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        tuning = self._tuning
        may_be_more = await self.forget(tuning.keys_at_once) == tuning.keys_at_once
        if not may_be_more:
            await self.look_further()
        self._due_at = monotonic() + (tuning.keys_pause if may_be_more else tuning.keys_interval)
        return look
