"""Forget expired keys. They no longer count, so this only frees space."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.keys import forget_expired_keys
from posthorse.store.operations.runners import NextDue
from posthorse.store.store import Store


class ForgetExpiredKeys(Chore):
    """Due every half minute."""

    name = "forget expired keys"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tuning = store.tuning
        self._due_at = monotonic() + self._tuning.keys_interval

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        tuning = self._tuning
        forgotten = await self._store.arun(forget_expired_keys(tuning.keys_at_once))
        may_be_more = forgotten == tuning.keys_at_once
        self._due_at = monotonic() + (tuning.keys_pause if may_be_more else tuning.keys_interval)
        return look
