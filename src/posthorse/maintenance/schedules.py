"""The scheduler makes the jobs of schedules when their times come. Every process with a worker has one.

There is no leader: the first process handles a time in one commit, and the others find it done. The process that ran a
schedule last looks first, and the others a moment later, so that they rarely compete.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence

from posthorse import ids
from posthorse.clock import SECOND, moment, monotonic
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.maintenance.turns import take_turns
from posthorse.rules.job import NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.schedules import Declared, Due, comes_again_after, due, job_at, remembered_after
from posthorse.store.admission import Admission
from posthorse.store.operations.schedules import (
    Fired,
    ScheduledRun,
    ScheduleRow,
    declare,
    fire,
    go_back,
    schedules,
    see,
)
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

LOOK_INTERVAL = 5.0
"""Seconds between two looks while nothing is due; a live change is noticed this late at most."""

SEE_INTERVAL = 60 * SECOND

SET_BACK = SECOND
"""Microseconds by which the store's clock must be behind the last handled time to count as set back."""


class Scheduler:
    """Attend to the schedules that this code declares."""

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, Declared],
        queues: DeclaredQueues,
        packing: Packing = PLAIN,
        *,
        has_rivals: bool = True,
    ) -> None:
        """`has_rivals`: whether other processes may look after the same schedules."""
        self._store = store
        self._declared = declared
        self._packing = packing
        self._admission = Admission(store, queues)
        self._refused: set[str] = set()
        self._entered: set[str] = set()
        self._warned: set[str] = set()
        self._unseen: dict[str, tuple[int, float]] = {}
        self._ran_last: set[str] = set()
        self._next: dict[str, tuple[int, int | None]] = {}
        self._yields = random.uniform(0.05, 0.3) if has_rivals else 0.0

    async def run_forever(self) -> None:
        """Run until cancelled."""
        await take_turns(self.turn, "schedules", when_failed=LOOK_INTERVAL)

    async def turn(self) -> float:
        """Do what is due; return the seconds until the next turn."""
        if not self._declared:
            return LOOK_INTERVAL
        rows = await self._store.aread(schedules())
        if await self._enter(rows):
            rows = await self._store.aread(schedules())
        mine = [row for row in rows if self._is_mine(row)]
        if any(abs(row.now - row.seen_at) > SEE_INTERVAL for row in mine):
            await self._store.arun(see([self._declared[row.name] for row in mine]))
        pauses = [await self._attend_safely(self._declared[row.name], row) for row in mine if not row.is_paused]
        return min([LOOK_INTERVAL, *pauses])

    # ── declaring ────────────────────────────────────────────────────────────────────────────────────

    async def _enter(self, rows: Sequence[ScheduleRow]) -> bool:
        """Store the declarations of this code: at first, and again if they are gone or no process attends to them."""
        stored = {row.name: row for row in rows}
        wanted = [one for one in self._declared.values() if self._is_to_be_entered(one, stored.get(one.name))]
        if not wanted:
            return False
        await self._store.arun(declare(wanted))
        self._entered |= {one.name for one in wanted}
        return True

    def _is_to_be_entered(self, declared: Declared, row: ScheduleRow | None) -> bool:
        if row is None:
            return True
        if row.fingerprint == declared.fingerprint:
            self._entered.add(declared.name)
            self._warned.discard(declared.name)
            return False
        if declared.name not in self._entered:
            log.info("schedule %s is declared again: %s", declared.name, declared.timing.described())
            return True
        if self._is_left(row):
            log.warning("schedule %s was changed by code that is gone; the declaration here counts", declared.name)
            return True
        if declared.name not in self._warned:
            self._warned.add(declared.name)
            log.warning(
                "schedule %s is declared differently by a worker that started later; that declaration counts. Two "
                "applications that share a store need different names",
                declared.name,
            )
        return False

    def _is_left(self, row: ScheduleRow) -> bool:
        """Return True if no process attends to it, by this process's own clock, so that others get time after a sleep
        or a clock step.
        """
        now = monotonic()
        seen_at, since = self._unseen.get(row.name, (None, now))
        if seen_at != row.seen_at:
            since = now
        self._unseen[row.name] = row.seen_at, since
        return seen_at == row.seen_at and now - since >= self._store.tuning.take_back_after

    def _is_mine(self, row: ScheduleRow) -> bool:
        declared = self._declared.get(row.name)
        return declared is not None and declared.fingerprint == row.fingerprint

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    async def _attend_safely(self, declared: Declared, row: ScheduleRow) -> float:
        """Attend to one schedule; if that fails, the others go on."""
        try:
            return await self._attend(declared, row)
        except PosthorseError as error:
            log.error("cannot run schedule %s: %s", declared.name, error)
        except Exception:
            log.exception("cannot run schedule %s", declared.name)
        return LOOK_INTERVAL

    async def _attend(self, declared: Declared, row: ScheduleRow) -> float:
        """Run a schedule if a time has come; return the seconds until it may have more to do."""
        if row.handled_until > row.now + SET_BACK:
            log.warning("the store's clock was set back; schedule %s continues from %s", row.name, moment(row.now))
            await self._go_back(declared, row)
            return 0.0
        coming = self._coming(declared, row)
        if coming is None:
            return LOOK_INTERVAL
        if coming > row.now:
            return (coming - row.now) / SECOND
        # In a thread, because after a long time away there may be much to compute.
        found = await asyncio.to_thread(
            due, declared.timing, declared.policies, handled_until=row.handled_until, now=row.now
        )
        if found is None:
            return LOOK_INTERVAL
        late = (row.now - found.handled_until) / SECOND
        if row.name not in self._ran_last and late < self._yields:
            return self._yields - late
        await self._pass(declared, row, found)
        return 0.0

    async def _go_back(self, declared: Declared, row: ScheduleRow) -> None:
        again = comes_again_after(declared.timing, handled_until=row.handled_until, now=row.now)
        await self._store.arun(go_back(declared, known=row.handled_until, now=row.now, comes_again_after=again))

    def _coming(self, declared: Declared, row: ScheduleRow) -> int | None:
        known, coming = self._next.get(row.name, (None, None))
        if known != row.handled_until:
            coming = declared.timing.next_after(row.handled_until)
            self._next[row.name] = row.handled_until, coming
        return coming

    async def _pass(self, declared: Declared, row: ScheduleRow, found: Due) -> None:
        # The store's clock decides the time, so the id uses it too, whatever this machine's clock shows.
        fresh = [ids.moved_to(job, row.now) for job in ids.new_ids(len(found.times))] if found.times else []
        jobs: Sequence[NewJob] = [
            job_at(declared.call, job, name=row.name, time=at, policies=declared.policies)
            for at, job in zip(found.times, fresh, strict=True)
        ]
        jobs, gauges, closed = await self._admission.aterms(jobs)
        lanes = await self._store.alanes({job.lane for job in jobs})
        failpoint("before_fire")
        made = await self._store.arun(
            fire(
                declared,
                [ScheduledRun(at, job) for at, job in zip(found.times, jobs, strict=True)],
                known=row.handled_until,
                handled_until=found.handled_until,
                missed_since=found.missed_since,
                forget_before=remembered_after(declared.timing, found.handled_until),
                terms=EntryTerms(lanes, gauges, closed, self._packing, self._store.watched.submitted),
            )
        )
        if made is None:
            self._ran_last.discard(row.name)
            return
        self._ran_last.add(row.name)
        if found.missed_since is not None:
            log.warning(
                "schedule %s missed its times from %s to %s; misfire=%s makes up for %d of them",
                row.name,
                moment(found.missed_since),
                moment(found.handled_until),
                declared.policies.misfire,
                len(found.times),
            )
        self._tell_of_refusal(row.name, made)
        passed_over = len(found.times) - len(made.jobs) - made.refused
        if passed_over > 0:
            log.info("schedule %s: %d runs were passed over", row.name, passed_over)

    def _tell_of_refusal(self, name: str, made: Fired) -> None:
        """Log a refusal once, until its queue accepts its jobs again: a schedule may come every second."""
        if made.refusal is None:
            if made.jobs:
                self._refused.discard(name)
        elif name not in self._refused:
            self._refused.add(name)
            log.warning("schedule %s: times that its queue refuses get no job: %s", name, made.refusal)
