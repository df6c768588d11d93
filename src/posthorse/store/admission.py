"""Admission: what new jobs meet at the queues that they enter, whichever way they come.

Calls of the application, schedules, observers and runs all ask here first. Jobs that were let in before are not new
when they are retried, resumed or rescued. Knows what was said of queues a second ago at most.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import QueueClosed
from posthorse.rules.depth import Gauge
from posthorse.rules.job import NewJob
from posthorse.rules.queues import DeclaredQueues, Layer
from posthorse.store.operations.queues import live_layers
from posthorse.store.store import Store

LOOK_INTERVAL = 1.0
"""Seconds after which a process that enqueues looks again for what was said of queues elsewhere."""


class Terms(NamedTuple):
    """On which terms jobs may enter: in these lanes, where these gauges show room, and into none that is closed."""

    jobs: Sequence[NewJob]
    gauges: Mapping[str, Gauge]
    closed: frozenset[str]

    def raise_if_closed(self) -> None:
        """Spare the store what it would refuse. Raises QueueClosed.

        A job with a key or an identity may be there already, and is given then; only the store knows.
        """
        if not self.closed:
            return
        for job in self.jobs:
            if job.lane.queue in self.closed and job.key is None and job.unique is None:
                raise QueueClosed(job.lane.queue)


class Admission:
    """What one process knows of the queues of one store."""

    def __init__(self, store: Store, queues: DeclaredQueues) -> None:
        self._store = store
        self._queues = queues
        self._looked_at: float | None = None
        self._draining: frozenset[str] = frozenset()
        self._gauges: dict[str, Gauge] = {}
        self._fair: frozenset[str] = frozenset()
        self._special: frozenset[str] = frozenset()
        """Queues of any of these kinds."""
        self._learning = threading.RLock()  # a signal handler may enqueue in the midst of it

    def terms(self, jobs: Sequence[NewJob]) -> Terms:
        """The terms for these jobs."""
        if self._is_due():
            self._learn(self._store.read(live_layers()))
        return self._terms(jobs)

    async def aterms(self, jobs: Sequence[NewJob]) -> Terms:
        """The same for a coroutine."""
        if self._is_due():
            self._learn(await self._store.aread(live_layers()))
        return self._terms(jobs)

    def lets_in(self, queue: str) -> bool:
        """True when jobs may enter a queue as they are, as far as a look less than a second ago tells."""
        looked_at = self._looked_at
        return queue not in self._special and looked_at is not None and monotonic() - looked_at < LOOK_INTERVAL

    def look_again(self) -> None:
        """Something was changed here: the next caller looks."""
        self._looked_at = None

    def _is_due(self) -> bool:
        """True for one caller a second, while the others use what is known; for all as long as nothing is."""
        now, before = monotonic(), self._looked_at
        if before is None:
            return True
        if now - before < LOOK_INTERVAL:
            return False
        self._looked_at = now
        return True

    def _learn(self, live: Mapping[str, Layer]) -> None:
        with self._learning:
            self._looked_at = monotonic()
            settings = self._queues.settings(live)
            self._draining = frozenset(name for name, said in settings.items() if said.draining)
            self._fair = frozenset(name for name, said in settings.items() if said.fair)
            limits = {name: said.max_depth for name, said in settings.items() if said.max_depth is not None}
            self._gauges = {
                name: known if (known := self._gauges.get(name)) and known.max_depth == limit else Gauge(limit)
                for name, limit in limits.items()
            }
            self._special = self._draining | self._fair | self._gauges.keys()

    def _terms(self, jobs: Sequence[NewJob]) -> Terms:
        queues = {job.lane.queue for job in jobs}
        gauges = {queue: self._gauges[queue] for queue in queues & self._gauges.keys()} if self._gauges else {}
        return Terms(self._placed(jobs), gauges, self._draining & queues)

    def _placed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """Jobs with the lanes where they belong: in a fair queue each tenant has its own."""
        if not self._fair:
            return jobs
        return [
            replace(job, lane=replace(job.lane, tenant=job.tenant))
            if job.tenant is not None and job.lane.queue in self._fair
            else job
            for job in jobs
        ]
