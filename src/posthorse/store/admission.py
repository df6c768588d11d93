"""Admission: whether queues accept new jobs, however these are enqueued.

Calls of the application, schedules, observers and runs all check here first. Jobs that are retried, resumed or rescued
are not new. This module knows the settings of queues with a delay of at most one second.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import QueueClosed
from posthorse.rules.job import NewJob
from posthorse.rules.queue_depth import Gauge
from posthorse.rules.queues import DeclaredQueues
from posthorse.store.operations.telling import QueuesAndWatchers, learn, queues_and_watchers
from posthorse.store.store import Store


class AdmissionTerms(NamedTuple):
    """The terms on which jobs may enter: their lanes, the gauges of limited queues, and the closed queues."""

    jobs: Sequence[NewJob]
    gauges: Mapping[str, Gauge]
    closed: frozenset[str]

    def raise_if_closed(self) -> None:
        """Refuse before the store would. Raises QueueClosed.

        A job with a key or an identity may already exist and is then returned, which only the store can tell.
        """
        if not self.closed:
            return
        for job in self.jobs:
            if job.lane.queue in self.closed and job.key is None and job.unique is None:
                raise QueueClosed(job.lane.queue)


class Admission:
    """What one process knows about the queues of one store."""

    def __init__(self, store: Store, queues: DeclaredQueues) -> None:
        self._store = store
        self._queues = queues
        self._interval = store.tuning.admission_interval
        self._looked_at: float | None = None
        self._draining: frozenset[str] = frozenset()
        self._gauges: dict[str, Gauge] = {}
        self._fair: frozenset[str] = frozenset()
        self._special: frozenset[str] = frozenset()
        """Queues that are drained, fair, or limited in depth."""
        self._learning = threading.RLock()  # a signal handler may enqueue while this is held

    def terms(self, jobs: Sequence[NewJob]) -> AdmissionTerms:
        """Return the terms for these jobs."""
        if self._is_due():
            self._learn(self._store.read(queues_and_watchers()))
        return self._terms(jobs)

    async def aterms(self, jobs: Sequence[NewJob]) -> AdmissionTerms:
        """Return the terms, for a coroutine."""
        if self._is_due():
            self._learn(await self._store.aread(queues_and_watchers()))
        return self._terms(jobs)

    def lets_in(self, queue: str) -> bool:
        """Return True if a recent look showed that jobs may enter the queue unchanged."""
        looked_at = self._looked_at
        return queue not in self._special and looked_at is not None and monotonic() - looked_at < self._interval

    def look_again(self) -> None:
        """Make the next caller look again, because this process changed a setting."""
        self._looked_at = None

    def _is_due(self) -> bool:
        """Return True for one caller in each interval, the others use what is known; for all until the first look."""
        now, before = monotonic(), self._looked_at
        if before is None:
            return True
        if now - before < self._interval:
            return False
        self._looked_at = now
        return True

    def _learn(self, found: QueuesAndWatchers) -> None:
        with self._learning:
            self._looked_at = monotonic()
            learn(self._store.watched, found, self._store.watched.changes)
            settings = self._queues.settings(found.layers)
            self._draining = frozenset(name for name, said in settings.items() if said.draining)
            self._fair = frozenset(name for name, said in settings.items() if said.fair)
            limits = {name: said.max_depth for name, said in settings.items() if said.max_depth is not None}
            self._gauges = {
                name: known if (known := self._gauges.get(name)) and known.max_depth == limit else Gauge(limit)
                for name, limit in limits.items()
            }
            self._special = self._draining | self._fair | self._gauges.keys()

    def _terms(self, jobs: Sequence[NewJob]) -> AdmissionTerms:
        queues = {job.lane.queue for job in jobs}
        gauges = {queue: self._gauges[queue] for queue in queues & self._gauges.keys()} if self._gauges else {}
        return AdmissionTerms(self._placed(jobs), gauges, self._draining & queues)

    def _placed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """Put jobs into their lanes: in a fair queue each tenant has its own."""
        if not self._fair:
            return jobs
        return [
            replace(job, lane=replace(job.lane, tenant=job.tenant))
            if job.tenant is not None and job.lane.queue in self._fair
            else job
            for job in jobs
        ]
