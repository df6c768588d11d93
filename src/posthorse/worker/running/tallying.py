"""What a runner counts of its jobs: in memory, where their ends are known, and written every ten seconds.

Ends come in batches, and a start is counted together with the end of the job, or at the next write if the job still
runs then; so a quick job pays for one look in common with its batch. Times are measured of each job at first. Once a
series counted a thousand between two writes, which are a hundred a second, one of eight is measured, which stands for
all eight. All of it belongs to the loop of the runner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from math import log2
from operator import attrgetter

from posthorse.clock import monotonic, until_tick
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.ids import milliseconds_of
from posthorse.rules.error_groups import Group
from posthorse.rules.tallies import AT_ONCE, BUCKETS_PER_DOUBLING, OTHER, RAN, Happened, Histogram, encode_histogram
from posthorse.store.operations.tallies import Counted, CountedError, TallyBatch, write_tallies
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

MAX_SERIES = 1_000
"""Queues, kinds and tenants that are counted apart between two writes; the others are counted together."""

MAX_GROUPS = 200
"""The same for groups of errors; errors beyond are counted as failed attempts, but in no group."""

MAX_MEASURED = 1_000
"""Of how many each is measured between two writes."""

SAMPLED = 8
"""Beyond, one of so many is measured."""

BATCH = 100
"""Jobs that are counted together, so that they share what a look costs."""

COMPLETED: tuple[Happened, ...] = ("completed",)

Report = Callable[[Sequence[Counted]], object]
"""Receives what is written, whether or not the store takes it at once."""

_lane_of = attrgetter("claimed.lane")


class Tally:
    """How often something happened to the jobs of one series, and how long it took."""

    __slots__ = ("count", "micros", "over", "share")

    def __init__(self) -> None:
        self.count = 0
        self.share = 1
        self.micros = 0
        self.over = Histogram()

    def add(self, jobs: Sequence[RunningJob]) -> Sequence[RunningJob]:
        """Count jobs; return those to measure. Each stands for `share` of them."""
        before = self.count
        self.count = before + len(jobs)
        if before < MAX_MEASURED:
            return jobs
        self.share = SAMPLED
        return jobs[-before % SAMPLED :: SAMPLED]  # the same share of the first of a batch as of others

    def measure(self, micros: int) -> None:
        """Enter how long it took."""
        if micros > 0:
            self.micros += micros * self.share
            bucket = int(BUCKETS_PER_DOUBLING * log2(micros))
        else:
            bucket = AT_ONCE
        self.over[bucket] = self.over.get(bucket, 0) + self.share


class Series:
    """What happened to the jobs of a queue, a kind and a tenant since the last write."""

    __slots__ = ("name", "tallies")

    def __init__(self, name: tuple[str, str, str]) -> None:
        self.name = name
        self.tallies: dict[Happened, Tally] = {}

    def begin(self, happened: Happened) -> Tally:
        """Begin the tally of what happened first now."""
        made = self.tallies[happened] = Tally()
        return made


class ErrorTally:
    """How often an error of a group was raised, and the last job that failed with it."""

    __slots__ = ("count", "group", "sample")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.count = 0
        self.sample = ""


class Tallying:
    """Counts for one runner, and writes what it counted.

    running: the jobs that run now; those that started since the last write are counted at the next one.
    """

    def __init__(
        self,
        store: Store,
        runner: str,
        running: Mapping[str, RunningJob],
        *,
        release: str | None = None,
        by_tenant: bool = False,
        report: Report | None = None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._running = running
        self._release = release
        self._by_tenant = by_tenant
        self._report = report
        self._interval = store.tuning.tallies_interval
        self._by_lane: dict[tuple[int, str], Series] = {}
        self._by_name: dict[tuple[str, str, str], Series] = {}
        self._errors: dict[str, ErrorTally] = {}
        self._uncounted: dict[tuple[Happened, ...], list[RunningJob]] = {}
        """Jobs that ended, by what happened, and are counted together soon: a batch of the store may be of one."""
        self._number = 0
        self._unwritten: TallyBatch | None = None
        """What could not be written, and perhaps was."""

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────

    def ended(self, jobs: Sequence[RunningJob], happened: tuple[Happened, ...] = COMPLETED) -> None:
        """Count ends, and starts that were not counted."""
        waiting = self._uncounted.get(happened)
        if waiting is None:
            waiting = self._uncounted[happened] = []
        waiting += jobs
        if len(waiting) >= BATCH:
            del self._uncounted[happened]
            self._count_all(waiting, happened)

    def _count_ended(self) -> None:
        uncounted, self._uncounted = self._uncounted, {}
        for happened, jobs in uncounted.items():
            if jobs:
                self._count_all(jobs, happened)

    def _count_all(self, jobs: Sequence[RunningJob], happened: Collection[Happened]) -> None:
        """Count ends, and starts that were not counted. A batch is mostly of one lane, which costs least."""
        lanes = [*map(_lane_of, jobs)]
        if self._by_tenant or lanes.count(lanes[0]) < len(lanes):
            for series, some in self._by_series(jobs).items():
                self._count(series, some, happened)
        else:
            self._count(self._by_lane.get((lanes[0], "")) or self._series_of(jobs[0], ""), jobs, happened)

    def failed(self, job: str, group: Group) -> None:
        """Count an error in its group."""
        known = self._errors.get(group.fingerprint)
        if known is None:
            if len(self._errors) >= MAX_GROUPS:
                return
            known = self._errors[group.fingerprint] = ErrorTally(group)
        known.count += 1
        known.sample = job

    def _count(self, series: Series, jobs: Sequence[RunningJob], happened: Collection[Happened]) -> None:
        tallies = series.tallies
        for each in happened:
            tally = tallies.get(each) or series.begin(each)
            measured = tally.add(jobs)
            if measured and each in RAN:
                for job in measured:
                    tally.measure(int(job.seconds * 1e6))
        if started := [job for job in jobs if not job.is_counted]:
            tally = tallies.get("started") or series.begin("started")
            if measured := tally.add(started):
                self._measure_waits(tally, measured)

    def _measure_waits(self, tally: Tally, jobs: Sequence[RunningJob]) -> None:
        """Enter how long jobs waited for their first start."""
        zero = self._store.clock.now() - int(monotonic() * 1e6)
        for job in jobs:
            claimed = job.claimed
            if claimed.epoch == 1:
                enqueued_at = milliseconds_of(claimed.job) * 1000
                due_at = enqueued_at if claimed.run_at is None else max(claimed.run_at, enqueued_at)
                tally.measure(zero + int(job.began * 1e6) - due_at)

    def _by_series(self, jobs: Sequence[RunningJob]) -> Mapping[Series, Sequence[RunningJob]]:
        found: dict[Series, list[RunningJob]] = {}
        for job in jobs:
            tenant = (job.options.tenant or job.lane.tenant) if self._by_tenant else ""
            found.setdefault(self._series_of(job, tenant), []).append(job)
        return found

    def _series_of(self, job: RunningJob, tenant: str) -> Series:
        lane = job.claimed.lane, tenant
        series = self._by_lane.get(lane)
        if series is None:
            name = job.lane.queue, job.lane.kind, tenant
            if name not in self._by_name and len(self._by_name) >= MAX_SERIES:
                name = OTHER, OTHER, OTHER if self._by_tenant else ""
            series = self._by_name.get(name)
            if series is None:
                series = self._by_name[name] = Series(name)
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

    def take(self) -> TallyBatch | None:
        """Take out what was counted since the last time, with a number of its own; None if nothing happened."""
        self._count_ended()
        for job in self._running.values():
            if not job.is_counted:
                self._count_all((job,), ())
                job.is_counted = True
        if not self._by_name and not self._errors:
            return None
        rows = [
            Counted(*name, happened, tally.count, tally.micros, encode_histogram(tally.over))
            for name, series in sorted(self._by_name.items())
            for happened, tally in sorted(series.tallies.items())
        ]
        errors = [CountedError(*tally.group, tally.sample, tally.count) for _, tally in sorted(self._errors.items())]
        self._by_lane.clear()
        self._by_name.clear()
        self._errors.clear()
        self._number += 1
        if self._report is not None:
            self._report(rows)
        return TallyBatch(self._number, rows, errors, self._release)
