"""Notice steps of the store's clock by comparing it with the time since boot, which cannot be set.

After a step back, scheduled jobs would wait longer by the step, so their times are moved (`store/operations/set_back`).
"""

from __future__ import annotations

import logging

from posthorse.clock import SECOND
from posthorse.store.operations.runners import NextDue, next_due
from posthorse.store.operations.set_back import FIRST, LanePosition, after_set_back, is_set_back, move_lined_up
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

STEP = SECOND
"""Microseconds by which the store's clock must deviate from the time since boot to count as set."""


class ClockSteps:
    """Watches the clock of one store each time the process looks for what is due."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ahead: tuple[int, int] | None = None
        """How far the store's clock is ahead of the time since boot, and the uncertainty of that."""

    def forget(self) -> None:
        """Start anew, because another process watches meanwhile."""
        self._ahead = None

    async def look(self) -> tuple[NextDue, bool]:
        """Query what is due; also return whether the clock was set since the last look."""
        clock = self._store.clock
        before = clock.boot_now()
        due = await self._store.aread(next_due())
        took = clock.boot_now() - before
        known, self._ahead = self._ahead, (due.now - before, took)
        if known is None:
            was_set = was_set_back = await self._store.aread(is_set_back(due.now))
        else:
            step = self._ahead[0] - known[0]
            was_set = abs(step) > STEP + took + known[1]
            was_set_back = was_set and step < 0
        if was_set_back:
            log.warning("the store's clock was set back; what waits for a span is due as much earlier")
            await self._move(due.now)
            due = await self._store.aread(next_due())
        return due, was_set

    async def _move(self, now: int) -> None:
        for part in after_set_back(now):
            while await self._store.arun(part):
                pass
        position: LanePosition | None = FIRST
        while position is not None:
            position = await self._store.arun(move_lined_up(now, position))
