"""Forget expired keys."""

from __future__ import annotations

from posthorse.maintenance.chores.expired import ForgetExpired
from posthorse.store.operations.keys import forget_expired_keys


class ForgetExpiredKeys(ForgetExpired):
    """Keys that may be used again."""

    name = "forget expired keys"

    async def forget(self, limit: int) -> int:
        return await self._store.arun(forget_expired_keys(limit))
