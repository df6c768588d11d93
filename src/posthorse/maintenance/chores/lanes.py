"""Enter the lanes of jobs that a worker of an older version parked while the store was migrated, and after."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.runners import NextDue, enter_lanes, lacks_lanes
from posthorse.store.store import Store

MAX_AT_ONCE = 1000
INTERVAL = 30.0
"""Seconds between two looks. A look reads an index that is nearly always empty, and nothing is written then."""


class EnterLanes(Chore):
    """Due every half minute, the first time at once."""

    name = "enter the lanes of parked jobs"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due_at = monotonic()

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        entered = 0
        if await self._store.aread(lacks_lanes()):
            entered = await self._store.arun(enter_lanes(MAX_AT_ONCE))
        self._due_at = monotonic() + (0.1 if entered == MAX_AT_ONCE else INTERVAL)
        return look
