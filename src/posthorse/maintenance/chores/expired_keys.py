"""Forget expired keys. They no longer count, so this only frees space."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.keys import forget_expired_keys
from posthorse.store.operations.runners import NextDue
from posthorse.store.store import Store

MAX_AT_ONCE = 1000
KEYS_INTERVAL = 30.0
"""Seconds between two looks for expired keys."""

KEYS_PACE = 0.1
"""Seconds between two batches, so that a million keys delay no other write for long."""


class ForgetExpiredKeys(Chore):
    """Due every half minute."""

    name = "forget expired keys"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due_at = monotonic() + KEYS_INTERVAL

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        forgotten = await self._store.arun(forget_expired_keys(MAX_AT_ONCE))
        self._due_at = monotonic() + (KEYS_PACE if forgotten == MAX_AT_ONCE else KEYS_INTERVAL)
        return look
