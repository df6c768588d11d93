"""Reading what happened to jobs, of all jobs together: `app.events(…)`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from posthorse.app.client_base import ClientBase
from posthorse.rules.job_events import EventClass, make_event_filter
from posthorse.rules.stream_cursor import as_cursor

if TYPE_CHECKING:
    from posthorse.app.event_reader import Events
    from posthorse.app.hub import Hub


class ReadsEvents(ClientBase):
    """An application: what happens to its jobs can be read and followed."""

    _hub: Hub | None = None

    def events(
        self,
        *,
        after: str | None = None,
        names: str | EventClass | Iterable[str | EventClass] | None = None,
        kind: str | Iterable[str] | None = None,
        queue: str | Iterable[str] | None = None,
        tenant: str | Iterable[str] | None = None,
        follow: bool = False,
    ) -> Events:
        """Read what happened to jobs, in one order for all readers::

            for event in app.events(names=["completed", "failed"], kind="render", follow=True):
                print(event.name, event.job)

        Iterate with `for` or `async for`. Each item is an event such as `ph.events.Completed`, or `ph.events.Missed` if
        events are gone that should have come next.

        after: the cursor of an event: begin with the one behind it. By default, begin with the oldest that is kept;
        with `follow`, with what happens from now on.
        names, kind, queue, tenant: only these; one or several of each. Names may be classes, too:
        `names=ph.events.Completed | ph.events.Failed`.
        follow: wait for more events, and end never. The first second of a watch may lack starts, completions and
        submissions; `with app.events(follow=True) as events:` begins it at once.

        Events are written only while something watches, and kept for `keep_events`. A reader that is slow or stands
        still misses nothing that is kept. Raises InvalidOption; InvalidCall inside a transaction.
        """
        from posthorse.app.event_reader import Events  # here, because few processes read events

        wanted = make_event_filter(names, kind, queue, tenant)
        return Events(self._app, wanted, None if after is None else as_cursor(after), follow=follow)

    @property
    def hub(self) -> Hub:
        """What reads for all that follow in this process; a forked child has another."""
        hub = self._hub
        if hub is None or hub.pid != os.getpid() or hub.store is not self.store:
            from posthorse.app.hub import Hub

            self._hub = hub = Hub(self.store, self.registry.packing)
        return hub

    def _stop_following(self) -> None:
        """End the thread that reads for those that follow."""
        if self._hub is not None and self._hub.pid == os.getpid():
            self._hub.close()
