"""Looks whether dead letters have grown: tells the log, and makes the jobs of those who observe it.

For the log whoever leads of the sweep looks; for observers, every process whose code has them does, because the
duty may be with a worker of other code. The store says who comes first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from shlex import quote

import msgspec

from posthorse import ids
from posthorse.clock import SECOND, monotonic
from posthorse.errors import PosthorseError
from posthorse.rules.durations import as_text
from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.filters import term
from posthorse.rules.growth import LOG, Observer, Watch
from posthorse.rules.job import NewJob
from posthorse.rules.queues import DeclaredQueues
from posthorse.store.admission import Admission
from posthorse.store.operations.dead_letters import Alarm, alarms_due, raise_alarm
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

LOOK_INTERVAL = 10.0
"""Seconds between two looks: so late may somebody be told."""

LOOK_SHARE = 20
"""A look that took t seconds is followed by another after 20 t."""


class DeadLetterLooks:
    """The looks of one process, for the observers that its code has, by their kinds."""

    def __init__(self, store: Store, observers: Mapping[str, Observer], queues: DeclaredQueues) -> None:
        self._store = store
        self._observers = observers
        self._admission = Admission(store, queues)
        self._looks_at = monotonic() + LOOK_INTERVAL

    @property
    def next_in(self) -> float:
        """Seconds until the next look."""
        return self._looks_at - monotonic()

    async def look_in_time(self, *, has_duty: bool) -> None:
        """Looks if it is time."""
        if self.next_in > 0:
            return
        began = monotonic()
        self._looks_at = began + LOOK_INTERVAL
        watches = [observer.watch for observer in self._observers.values()]
        if has_duty:
            watches.append(LOG)
        try:
            for alarm in await self._store.aread(alarms_due(watches, pace=round(LOOK_INTERVAL * SECOND))):
                await self._tell_safely(alarm)
        except PosthorseError as error:
            log.warning("cannot look at dead letters: %s", error)
        self._looks_at = max(self._looks_at, monotonic() + LOOK_SHARE * (monotonic() - began))

    async def _tell_safely(self, alarm: Alarm) -> None:
        """One that cannot be told must not keep the others; there is another look."""
        try:
            await self._tell(alarm)
        except PosthorseError as error:
            log.warning("cannot tell %s of dead letters: %s", alarm.watch.name, error)
        except Exception:
            log.exception("cannot tell %s of dead letters", alarm.watch.name)

    async def _tell(self, alarm: Alarm) -> None:
        observer, channel = self._observers.get(alarm.watch.name), self._store.backend.channel
        if observer is None:
            event = await self._store.arun(raise_alarm(alarm, None, lanes={}, channel=channel))
            if event is not None:
                log.warning("%s", _said(event, alarm.watch))
            return
        # The store's clock found them, so the id goes by it, too, whatever this machine's clock shows.
        job_id = ids.moved_to(ids.new_id(), alarm.now)
        lanes = await self._store.alanes({observer.lane})
        blank = NewJob(id=job_id, lane=observer.lane, arguments="")
        _, gauges, closed = await self._admission.aterms([blank])
        await self._store.arun(
            raise_alarm(
                alarm,
                lambda event: msgspec.structs.replace(observer.make(event), id=job_id),
                lanes=lanes,
                channel=channel,
                gauges=gauges,
                closed=closed,
            )
        )


def _said(event: DeadLettersGrew, watch: Watch) -> str:
    count = f"at least {event.count}" if event.is_at_least else str(event.count)
    errors = ", ".join(f"{times} × {error}" for error, times in event.errors.items())
    wanted = f"state:failed {term('queue', event.queue)}"
    return (
        f"dead letters of queue {event.queue} grew by {count} in {as_text(timedelta(microseconds=watch.within))}: "
        f"{errors} (posthorse jobs --filter {quote(wanted)})"
    )
