"""Look for dead letters that have grown: warn in the log, and enqueue the jobs of observers.

The process that leads warns in the log. Every process looks for the observers of its own code, because the process that
leads may run other code. If several look at once, the store decides which one is first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from shlex import quote

import msgspec

from posthorse import ids
from posthorse.clock import SECOND
from posthorse.errors import PosthorseError
from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.rules.durations import as_text
from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.growth import LOG, AlarmRule, Observer
from posthorse.rules.job import NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.search.filter import term
from posthorse.store.admission import Admission
from posthorse.store.operations.dead_letters import Alarm, alarms_due, raise_alarm
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")


class LookAtDeadLetters(Chore):
    """The looks of one process, for the observers of its code, by their kinds."""

    name = "look at dead letters"
    by_every_process = True

    def __init__(
        self, store: Store, observers: Mapping[str, Observer], queues: DeclaredQueues, packing: Packing = PLAIN
    ) -> None:
        self._store = store
        self._observers = observers
        self._packing = packing
        self._admission = Admission(store, queues)
        self._interval = store.tuning.dead_letters_interval
        self._throttle = ChorePace()

    def due_in(self, look: NextDue | None) -> float:
        return self._throttle.due_in(self._interval)

    async def run(self, look: NextDue | None) -> NextDue | None:
        rules = [observer.rule for observer in self._observers.values()]
        if look is not None:
            rules.append(LOG)
        with self._throttle.turn():
            for alarm in await self._store.aread(alarms_due(rules, pace=round(self._interval * SECOND))):
                await self._tell_safely(alarm)
        return look

    async def _tell_safely(self, alarm: Alarm) -> None:
        """Report one alarm. If that fails, the others are still reported; the next look tries again."""
        try:
            await self._tell(alarm)
        except PosthorseError as error:
            log.warning("cannot tell %s of dead letters: %s", alarm.rule.name, error)
        except Exception:
            log.exception("cannot tell %s of dead letters", alarm.rule.name)

    async def _tell(self, alarm: Alarm) -> None:
        observer = self._observers.get(alarm.rule.name)
        if observer is None:
            event = await self._store.arun(raise_alarm(alarm, None, EntryTerms({})))
            if event is not None:
                log.warning("%s", _said(event, alarm.rule))
            return
        # The store's clock found them, so the id must follow that clock, not this machine's.
        job_id = ids.moved_to(ids.new_id(), alarm.now)
        lanes = await self._store.alanes({observer.lane})
        blank = NewJob(id=job_id, lane=observer.lane, arguments="")
        _, gauges, closed = await self._admission.aterms([blank])
        terms = EntryTerms(lanes, gauges, closed, self._packing, self._store.watched.submitted)

        def make(event: DeadLettersGrew) -> NewJob:
            return msgspec.structs.replace(observer.make(event), id=job_id)

        await self._store.arun(raise_alarm(alarm, make, terms))


def _said(event: DeadLettersGrew, rule: AlarmRule) -> str:
    count = f"at least {event.count}" if event.is_at_least else str(event.count)
    errors = ", ".join(f"{times} × {error}" for error, times in event.errors.items())
    wanted = f"state:failed {term('queue', event.queue)}"
    return (
        f"dead letters of queue {event.queue} grew by {count} in {as_text(timedelta(microseconds=rule.within))}: "
        f"{errors} (posthorse jobs --filter {quote(wanted)})"
    )
