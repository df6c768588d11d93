"""Live queues: the settings of all queues as they are now, once for all parts of a runner.

The part that hears of a change first reads them again, and all others see the new ones. What a running job must obey is
looked up here, not in what was claimed, so that changes reach jobs that run for days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from posthorse.clock import monotonic
from posthorse.rules.queues import DEFAULTS, DeclaredQueues, QueueSettings
from posthorse.rules.window import Window
from posthorse.store.operations.telling import learn, queues_and_watchers
from posthorse.store.store import Store


class LiveQueues:
    """The settings of queues in one runner."""

    def __init__(
        self,
        store: Store,
        declared: DeclaredQueues,
        *,
        obeys: Callable[[Mapping[str, QueueSettings]], None] = lambda _: None,
    ) -> None:
        """`obeys` gets the settings whenever they changed."""
        self.by_name: Mapping[str, QueueSettings] = {}
        """Replaced as a whole when settings change."""
        self._store = store
        self._declared = declared
        self._changes: int | None = None
        self._windows: Mapping[str, Window] = {}
        self._obeys = obeys

    async def update(self, changes: int) -> None:
        """Read the settings, and who watches the stream, unless nothing was changed since the last time.

        changes: how often settings and watchers were changed, as the store counts it.
        """
        watched = self._store.watched
        if changes == self._changes and monotonic() <= watched.ends_at:
            return
        read = await self._store.aread(queues_and_watchers())
        learn(watched, read, changes)
        if changes != self._changes:
            self.by_name = self._declared.settings(read.layers)
            self._windows = {name: one.window for name, one in self.by_name.items() if one.window is not None}
            self._changes = changes
            self._obeys(self.by_name)

    def settings(self, queue: str) -> QueueSettings:
        """Return the settings of a queue."""
        return self.by_name.get(queue, DEFAULTS)

    def closed_by_window(self, now: int) -> Mapping[str, str]:
        """Return why queues are closed whose window is over; `now` is in microseconds on the store's clock."""
        return {name: window.why_closed(now) for name, window in self._windows.items() if not window.is_open(now)}
