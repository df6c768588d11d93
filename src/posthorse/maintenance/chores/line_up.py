"""Line up jobs that are due: they move from `parked` into the ready queue of their lane."""

from __future__ import annotations

import math

from posthorse.clock import SECOND, monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.runners import NextDue, next_due, promote
from posthorse.store.store import Store

BLOCKED_FOR = 2.0
"""Seconds until the next try if other transactions locked every due job."""


class LineUpDueJobs(Chore):
    """Due when the first job is."""

    name = "line up jobs that are due"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocked_until = -math.inf

    def due_in(self, look: NextDue | None) -> float:
        if look is None or look.job is None:
            return math.inf
        return max(look.job / SECOND, self._blocked_until - monotonic())

    async def run(self, look: NextDue | None) -> NextDue | None:
        while look is not None and look.job is not None and look.job <= 0:
            if not await self._store.arun(promote(self._store.tuning.due_at_once)):
                self._blocked_until = monotonic() + BLOCKED_FOR
                break
            look = await self._store.aread(next_due())
        return look
