"""Look for jobs that no living worker would take, and log each such gap once, in the process that leads."""

from __future__ import annotations

import logging

from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.rules.queues import DEFAULTS, DeclaredQueues
from posthorse.rules.why.answer import Reason, clause
from posthorse.rules.why.queue_and_workers import why_unserved
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.unserved import waiting_kinds
from posthorse.store.operations.why import surroundings
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

LOOK_INTERVAL = 30.0
"""Seconds between two looks. A gap is reported at the second look that finds it: a deploy may close it meanwhile."""

QueueGap = tuple[str, str, str]
"""A queue, a kind, and the code of the reason why no worker takes such jobs."""


class LookForUnservedJobs(Chore):
    """The looks of one process. It knows the live settings of queues, and those that its own code declares."""

    name = "look for jobs that no worker takes"

    def __init__(self, store: Store, queues: DeclaredQueues) -> None:
        self._store = store
        self._queues = queues
        self._throttle = ChorePace()
        self._seen: frozenset[QueueGap] = frozenset()
        self._told: frozenset[QueueGap] = frozenset()

    def due_in(self, look: NextDue | None) -> float:
        return self._throttle.due_in(LOOK_INTERVAL)

    async def run(self, look: NextDue | None) -> NextDue | None:
        with self._throttle.turn():
            found = await self._gaps()
        for gap in sorted(self._seen & found.keys() - self._told):
            queue, kind, _ = gap
            words = "jobs of the kind %s wait in the queue %s: %s; %s: %s"
            log.warning(words, kind, queue, clause(found[gap].sentence), found[gap].advice, found[gap].command)
        self._told = (self._told | self._seen) & found.keys()
        self._seen = frozenset(found)
        return look

    async def _gaps(self) -> dict[QueueGap, Reason]:
        waiting = await self._store.aread(waiting_kinds())
        around = await self._store.aread(surroundings())
        settings = self._queues.settings(around.layers)
        return {
            (queue, kind, reason.code): reason
            for queue, kind in waiting
            if (reason := why_unserved(kind, queue, settings.get(queue, DEFAULTS), around.servers)) is not None
        }
