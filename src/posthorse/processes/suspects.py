"""Suspects, as the supervisor sees them: whether any wait that a runner of this worker would claim now.

It knows lanes and the settings of queues, just as a runner does, and claims nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from posthorse.rules.job import Lane
from posthorse.rules.labels import as_labels
from posthorse.rules.queues import DeclaredQueues
from posthorse.store.operations.claim import lanes_with_jobs, news
from posthorse.store.operations.queues import live_layers
from posthorse.store.store import Store
from posthorse.worker.claiming.served_lanes import ServedLanes


class Suspects:
    """The suspects that one worker may run."""

    def __init__(
        self, store: Store, queues: DeclaredQueues, *, serves: Callable[[Lane], bool], labels: Sequence[str]
    ) -> None:
        self._store = store
        self._queues = queues
        self._lanes = ServedLanes(serves, labels=as_labels(list(labels)))
        self._heard_changes: int | None = None

    async def wait(self) -> bool:
        """Return whether a suspect waits in a queue that this worker may serve now."""
        heard = await self._store.aread(news(self._lanes.known))
        if heard.changes != self._heard_changes:
            self._lanes.obey(self._queues.settings(await self._store.aread(live_layers())))
            self._heard_changes = heard.changes
        self._lanes.open_at(heard.now)
        self._lanes.add(heard.lanes)
        probes = self._lanes.probes_for_suspects()
        return bool(probes) and bool(await self._store.aread(lanes_with_jobs(probes)))
