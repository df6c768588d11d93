"""What a runner counts of its jobs: in memory, where their starts and ends are known, and written every ten seconds.

A start or an end costs a lookup and a few increments. Times are measured of each job at first; once a series counts
more than a hundred a second, of one in eight, which then stands for eight. It belongs to the loop of the runner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from math import log2

from posthorse import ids
from posthorse.clock import until_tick
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.rules.error_groups import Group
from posthorse.rules.tallies import AT_ONCE, OTHER, RAN, STEPS, Happened, Histogram, encode_histogram
from posthorse.store.operations.tallies import Counted, CountedError, Written, write_tallies
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

MAX_SERIES = 1_000
"""Queues, kinds and tenants that are counted apart between two writes; the others are counted together."""

MAX_GROUPS = 200
"""The same for groups of errors; errors beyond are counted as failed attempts, but in no group."""

MAX_RATE = 100
"""Times a second of which each is measured."""

SAMPLED = 8
"""Beyond that rate one of so many is measured."""


class Tally:
    """How often something happened to the jobs of one series, and how long it took."""

    __slots__ = ("_bucket", "_exact", "count", "micros", "over", "unmeasured", "weight")

    def __init__(self, exact: int) -> None:
        self.count = 0
        self.unmeasured = 0
        """Those for which the next one that is measured stands, too."""
        self.weight = 1
        self.micros = 0
        self.over = Histogram()
        self._exact = exact
        self._bucket = AT_ONCE

    def measure(self, micros: int) -> None:
        """Enter how long it took, for this one and those before that were not measured."""
        stands_for = self.unmeasured
        self.unmeasured = 0
        if micros > 0:
            self.micros += micros * stands_for
            bucket = int(STEPS * log2(micros))
        else:
            bucket = AT_ONCE
        self.over[bucket] = self.over.get(bucket, 0) + stands_for
        self._bucket = bucket
        if self.count > self._exact:
            self.weight = SAMPLED

    def complete(self) -> None:
        """Let the last ones that were not measured count as the one before."""
        if self.unmeasured:
            measured = sum(self.over.values())
            self.micros += self.micros * self.unmeasured // measured
            self.over[self._bucket] += self.unmeasured
            self.unmeasured = 0


class Series:
    """What happened to the jobs of a queue, a kind and a tenant since the last write."""

    __slots__ = ("_exact", "completed", "name", "others", "started")

    def __init__(self, name: tuple[str, str, str], exact: int) -> None:
        self.name = name
        self._exact = exact
        self.started = Tally(exact)
        self.completed = Tally(exact)
        self.others: dict[Happened, Tally] = {}

    def other(self, happened: Happened) -> Tally:
        """Return the tally of an end that is rarer."""
        found = self.others.get(happened)
        if found is None:
            found = self.others[happened] = Tally(self._exact)
        return found

    def tallies(self) -> Iterable[tuple[Happened, Tally]]:
        """Return all that counted something."""
        every = ((Happened.STARTED, self.started), (Happened.COMPLETED, self.completed), *self.others.items())
        return ((happened, tally) for happened, tally in every if tally.count)


class Tallying:
    """Counts for one runner, and writes what it counted."""

    def __init__(self, store: Store, runner: str, *, release: str | None, by_tenant: bool) -> None:
        self._store = store
        self._runner = runner
        self._release = release
        self._by_tenant = by_tenant
        self._interval = store.tuning.tallies_interval
        self._exact = round(MAX_RATE * self._interval)
        self._now = store.clock.now
        self._by_lane: dict[int | tuple[int, str | None], Series] = {}
        self._by_name: dict[tuple[str, str, str], Series] = {}
        self._errors: dict[str, CountedError] = {}
        self._number = 0
        self._unwritten: Written | None = None
        """What could not be written, and perhaps was."""

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────

    def started(self, running: RunningJob) -> None:
        """Count a start, and how long the job waited for its first one."""
        claimed = running.claimed
        series = None if self._by_tenant else self._by_lane.get(claimed.lane)
        tally = (series or self._series_of(running)).started
        tally.count += 1
        if claimed.epoch == 1:
            tally.unmeasured += 1
            if tally.unmeasured >= tally.weight:
                since = 1000 * ids.milliseconds_of(claimed.job)
                tally.measure(self._now() - (since if claimed.run_at is None else max(claimed.run_at, since)))

    def completed(self, jobs: Iterable[RunningJob]) -> None:
        """Count jobs that returned."""
        for running in jobs:
            series = None if self._by_tenant else self._by_lane.get(running.claimed.lane)
            tally = (series or self._series_of(running)).completed
            tally.count += 1
            tally.unmeasured += 1
            if tally.unmeasured >= tally.weight:
                tally.measure(int(running.seconds * 1e6))

    def ended(self, running: RunningJob, happened: Iterable[Happened], seconds: float) -> None:
        """Count another end."""
        for each in happened:
            tally = self._series_of(running).other(each)
            tally.count += 1
            if each in RAN:
                tally.unmeasured += 1
                if tally.unmeasured >= tally.weight:
                    tally.measure(int(seconds * 1e6))

    def failed(self, job: str, group: Group) -> None:
        """Count an error in its group."""
        known = self._errors.get(group.fingerprint)
        if known is not None:
            self._errors[group.fingerprint] = known._replace(sample=job, times=known.times + 1)
        elif len(self._errors) < MAX_GROUPS:
            self._errors[group.fingerprint] = CountedError(*group, sample=job, times=1)

    def _series_of(self, running: RunningJob) -> Series:
        tenant = running.options.tenant if self._by_tenant else None
        lane = (running.claimed.lane, tenant) if self._by_tenant else running.claimed.lane
        series = self._by_lane.get(lane)
        if series is None:
            name = running.lane.queue, running.lane.kind, tenant or ""
            if name not in self._by_name and len(self._by_name) >= MAX_SERIES:
                name = OTHER, OTHER, OTHER if self._by_tenant else ""
            series = self._by_name.get(name)
            if series is None:
                series = self._by_name[name] = Series(name, self._exact)
            self._by_lane[lane] = series
        return series

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    async def write_forever(self) -> None:
        """Write what was counted, every ten seconds, until cancelled."""
        while True:
            await asyncio.sleep(until_tick(self._interval))
            await self.write()

    async def write(self) -> None:
        """Write what was counted. If the store does not take it now, it is written before what is counted meanwhile."""
        written = self._unwritten or self.take()
        if written is None:
            return
        self._unwritten = written
        try:
            failpoint("before_tallies")
            await self._store.arun(write_tallies(self._runner, written))
            failpoint("after_tallies")
        except PosthorseError as error:
            log.debug("cannot write figures: %s; they are written later", error)
        except Exception:
            log.exception("figures of ten seconds cannot be written, and are dropped")
            self._unwritten = None
        else:
            self._unwritten = None

    def take(self) -> Written | None:
        """Take out what was counted since the last time, with a number of its own; None if nothing happened."""
        if not self._by_name and not self._errors:
            return None
        rows: list[Counted] = []
        for name, series in sorted(self._by_name.items()):
            for happened, tally in series.tallies():
                tally.complete()
                over = encode_histogram(tally.over)
                rows.append(Counted(*name, happened.value, tally.count, tally.micros, over))
        errors = [error for _, error in sorted(self._errors.items())]
        self._by_lane.clear()
        self._by_name.clear()
        self._errors.clear()
        self._number += 1
        return Written(self._number, rows, errors, self._release)
