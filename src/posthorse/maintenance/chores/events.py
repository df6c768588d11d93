"""Forget events of the stream that are old enough, and watchers and readers whose processes are gone."""

from __future__ import annotations

from uuid import uuid4

from posthorse.clock import SECOND, monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.stream import (
    FORGOTTEN_AT_ONCE,
    forget_told,
    forget_watchers,
    mark_tick,
    stream_state,
)
from posthorse.store.store import Store

KEEP_READERS = 30 * 86_400.0
"""Seconds after which the place of a durable reader is forgotten that no process moved."""


class ForgetEvents(Chore):
    """Due every ten seconds. `keep`: for how many seconds events are kept."""

    name = "forget old events"

    def __init__(self, store: Store, keep: float) -> None:
        self._store = store
        self._tuning = store.tuning
        self._keep = keep
        self._due_at = monotonic() + self._tuning.forget_events_interval

    def due_in(self, look: NextDue | None) -> float:
        return self._due_at - monotonic()

    async def run(self, look: NextDue | None) -> NextDue | None:
        await self._mark_tick()
        gone = await self._store.arun(forget_told(round(self._keep * SECOND)))
        may_be_more = gone == FORGOTTEN_AT_ONCE
        if not may_be_more:
            await self._store.arun(forget_watchers(max(self._keep, KEEP_READERS)))
        self._due_at = monotonic() + (self._tuning.keys_pause if may_be_more else self._tuning.forget_events_interval)
        return look

    async def _mark_tick(self) -> None:
        """Mark a tick if there is news. While no reader runs, no other process does so; then all that was told would
        become one long tick, of which nothing could be forgotten.
        """
        state = await self._store.aread(stream_state())
        if state.has_news or state.is_foreign:
            while await self._store.arun(mark_tick(uuid4().hex[:8])):
                pass
