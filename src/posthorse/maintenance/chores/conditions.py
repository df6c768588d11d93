"""Look for conditions that observers want to hear of, and enqueue their jobs when one begins or is over.

Every process looks for the observers of its own code, because the process that leads may run other code. If several
look at once, the store decides which one is first. The process that leads also forgets what is old.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import msgspec

from posthorse import ids
from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.rules.condition_changes import ConditionChange
from posthorse.rules.conditions import ConditionObserver
from posthorse.rules.incidents import Incident, event_of
from posthorse.rules.job import NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import DeclaredQueues
from posthorse.store.admission import Admission
from posthorse.store.operations.conditions import (
    enter_observer,
    look_at_conditions,
    report_change,
    report_incident,
)
from posthorse.store.operations.incidents import forget_incidents
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

FORGET_INTERVAL = 3_600.0
"""Seconds between two times at which old incidents and reports are forgotten."""


class LookAtConditions(Chore):
    """The looks of one process, for the observers of its code, by their kinds."""

    name = "look at conditions"
    by_every_process = True

    def __init__(
        self,
        store: Store,
        observers: Mapping[str, ConditionObserver],
        queues: DeclaredQueues,
        packing: Packing = PLAIN,
    ) -> None:
        self._store = store
        self._observers = observers
        self._packing = packing
        self._admission = Admission(store, queues)
        self._interval = store.tuning.conditions_interval
        self._throttle = ChorePace()
        self._forgets_at = monotonic() + FORGET_INTERVAL

    def due_in(self, look: NextDue | None) -> float:
        looks_in = self._throttle.due_in(self._interval) if self._observers else math.inf
        return looks_in if look is None else min(looks_in, self._forgets_at - monotonic())

    async def run(self, look: NextDue | None) -> NextDue | None:
        if look is not None and monotonic() >= self._forgets_at:
            self._forgets_at = monotonic() + FORGET_INTERVAL
            await self._store.arun(forget_incidents())
        if self._observers:
            with self._throttle.turn():
                await self._look()
        return look

    async def _look(self) -> None:
        rules = [observer.rule for observer in self._observers.values()]
        found = await self._store.aread(look_at_conditions(rules))
        if found.new:
            for rule in found.new:
                await self._store.arun(enter_observer(rule))
            found = await self._store.aread(look_at_conditions(rules))
        for change in found.changes:
            await self._report_safely(change.name, change, found.now)
        for name, incident in found.incidents:
            await self._report_safely(name, incident, found.now)

    async def _report_safely(self, name: str, what: ConditionChange | Incident, now: int) -> None:
        """Report one condition. If that fails, the others are still reported; the next look tries again."""
        try:
            await self._report(self._observers[name], what, now)
        except PosthorseError as error:
            log.warning("cannot notify the observer %s: %s", name, error)
        except Exception:
            log.exception("cannot notify the observer %s", name)

    async def _report(self, observer: ConditionObserver, what: ConditionChange | Incident, now: int) -> None:
        event = event_of(what) if isinstance(what, Incident) else what.event
        says_nothing = isinstance(what, ConditionChange) and what.is_over and not observer.wants_end
        # The store's clock found it, so the id must follow that clock, not this machine's.
        job = None if event is None or says_nothing else _with_id(observer.make(event), now)
        terms = await self._terms(observer, job)
        failpoint("before_report")
        if isinstance(what, Incident):
            assert job is not None
            await self._store.arun(report_incident(observer.rule.name, what, job, terms))
        else:
            await self._store.arun(report_change(what, job, terms))
        failpoint("after_report")

    async def _terms(self, observer: ConditionObserver, job: NewJob | None) -> EntryTerms:
        """Return what the store must know to take the job of an observer."""
        if job is None:
            return EntryTerms({})
        lanes = await self._store.alanes({observer.lane})
        _, gauges, closed = await self._admission.aterms([job])
        return EntryTerms(lanes, gauges, closed, self._packing, self._store.watched.submitted)


def _with_id(made: NewJob, now: int) -> NewJob:
    return msgspec.structs.replace(made, id=ids.moved_to(ids.new_id(), now))
