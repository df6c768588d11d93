"""The page that Prometheus reads: the name, labels and help of each metric, in the format that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from posthorse.clock import SECOND
from posthorse.rules.job import State
from posthorse.rules.tallies import OTHER
from posthorse.store.operations.tallies import DepthRow
from posthorse.telemetry.latencies import BOUNDS, Latencies
from posthorse.telemetry.store_samples import StoreSample
from posthorse.telemetry.totals import FINISHED, MAX_SERIES, KindTotals, TimeTotals, cumulative

SPANS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds in seconds of how long jobs waited and ran."""

LANE = ("queue", "kind")


class WorkerFigures(NamedTuple):
    """What one worker knows of itself: its counts since it started, and what it does now.

    slots: how many jobs it may run at once; busy: how many it runs. runners: its processes that hold a lease;
    deaths: how many of them died.
    """

    version: str
    release: str
    series: Mapping[tuple[str, str], KindTotals]
    slots: int
    busy: int
    runners: int
    deaths: int
    latencies: Latencies


def metrics_page(worker: WorkerFigures | None, store: StoreSample | None, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type, without a worker those figures alone that the store has.

    accept: the header of the request, which chooses the format.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Page(worker, store)), content_type


class _Page(CollectorRegistry):
    """A registry that holds one page, because an encoder takes a registry."""

    def __init__(self, worker: WorkerFigures | None, store: StoreSample | None) -> None:
        super().__init__()
        self.register(_Figures(worker, store))


class _Figures(Collector):
    def __init__(self, worker: WorkerFigures | None, store: StoreSample | None) -> None:
        self._worker = worker
        self._store = store

    def collect(self) -> Iterable[Metric]:
        if self._worker is not None:
            yield from _of_jobs(self._worker.series)
            yield from _of_worker(self._worker)
        yield _gauge("jobs_store_up", "Whether the last sample of the store could be taken.", int(bool(self._store)))
        if self._store is not None:
            yield from _of_store(self._store)


def _of_jobs(series: Mapping[tuple[str, str], KindTotals]) -> Iterator[Metric]:
    started = CounterMetricFamily("jobs_started", "Attempts that this worker started.", labels=LANE)
    finished = CounterMetricFamily("jobs_finished", "Jobs that ended in this worker.", labels=(*LANE, "state"))
    retries = CounterMetricFamily("jobs_retries", "Attempts that failed and are repeated.", labels=LANE)
    lost = CounterMetricFamily("jobs_lost_leases", "Attempts that ended with their process.", labels=LANE)
    waited = HistogramMetricFamily(
        "jobs_wait_seconds", "From when a job could have run to its first start.", labels=LANE
    )
    ran = HistogramMetricFamily("jobs_run_seconds", "From the start of an attempt to its end.", labels=LANE)
    for name, one in sorted(series.items()):
        started.add_metric(name, one.times.get("started", 0))
        for happened, state in FINISHED.items():
            finished.add_metric((*name, state.value), one.times.get(happened, 0))
        retries.add_metric(name, one.times.get("retried", 0))
        lost.add_metric(name, one.times.get("lost", 0))
        _add_spans(waited, name, one.waited)
        _add_spans(ran, name, one.ran)
    return iter((started, finished, retries, lost, waited, ran))


def _add_spans(family: HistogramMetricFamily, labels: Sequence[str], spent: TimeTotals) -> None:
    counts = cumulative(spent.over, SPANS)
    family.add_metric(labels, _buckets(SPANS, counts), spent.micros / SECOND)


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    return [(str(bound), float(count)) for bound, count in zip((*bounds, "+Inf"), counts, strict=True)]


def _of_worker(worker: WorkerFigures) -> Iterator[Metric]:
    build = GaugeMetricFamily("jobs_build_info", "What runs here.", labels=("version", "release"))
    build.add_metric((worker.version, worker.release), 1)
    yield build
    yield _gauge("jobs_slots", "Jobs that this worker may run at once.", worker.slots)
    yield _gauge("jobs_slots_busy", "Jobs that this worker runs.", worker.busy)
    yield _gauge("jobs_runners", "Runner processes of this worker that hold a lease.", worker.runners)
    yield CounterMetricFamily("jobs_runner_deaths", "Runner processes of this worker that died.", worker.deaths)
    latency = HistogramMetricFamily("jobs_store_latency_seconds", "How long the store took to renew a lease.")
    latency.add_metric((), _buckets(BOUNDS, [*accumulate(worker.latencies.counts)]), worker.latencies.total)
    yield latency


def _of_store(store: StoreSample) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        "jobs_queue_depth", "Jobs in the store, counted up to 10,000 for each.", labels=("queue", "state")
    )
    oldest = GaugeMetricFamily(
        "jobs_queue_oldest_age_seconds", "For how long the first waiting job has waited.", labels=("queue",)
    )
    for queue, row in _capped(store.depths):
        for state, count in _by_state(row):
            depth.add_metric((queue, state.value), count)
        oldest.add_metric((queue,), (row.waited or 0) / SECOND)
    skipped = CounterMetricFamily(
        "jobs_schedule_skipped", "Times of a schedule that were skipped.", labels=("schedule",)
    )
    for name, count in sorted(store.skipped.items())[:MAX_SERIES]:
        skipped.add_metric((name,), count)
    yield depth
    yield oldest
    yield skipped
    if store.stocks:
        yield from _of_stocks(store)
    yield _gauge("jobs_workers", "Workers of the store that send heartbeats.", store.workers)
    yield _gauge("jobs_scheduled_late_seconds", "By how much the next scheduled job is late.", store.late)
    yield _gauge("jobs_store_sample_time_seconds", "When the figures of the store were taken.", store.at / SECOND)


def _of_stocks(store: StoreSample) -> Iterator[Metric]:
    results = GaugeMetricFamily(
        "jobs_stock_results",
        "Results of a stock: made, ordered, or failed for good.",
        labels=("stock", "state"),
    )
    oldest = GaugeMetricFamily(
        "jobs_stock_oldest_age_seconds", "For how long the oldest result of a stock has been there.", labels=("stock",)
    )
    for (stock, state), (count, since) in sorted(store.stocks.items())[:MAX_SERIES]:
        results.add_metric((stock, state), count)
        if state == "made":
            oldest.add_metric((stock,), max(0, store.at - since) / SECOND)
    yield results
    yield oldest


def _by_state(row: DepthRow) -> Sequence[tuple[State, int]]:
    return (
        (State.PENDING, row.waiting),
        (State.PROCESSING, row.running),
        (State.SCHEDULED, row.scheduled),
        (State.BLOCKED, row.blocked),
        (State.PAUSED, row.paused),
        (State.FAILED, row.failed),
    )


def _capped(depths: Mapping[str, DepthRow]) -> Iterator[tuple[str, DepthRow]]:
    """Yield the depths of as many queues as may be named, the deepest first, and the others added up."""
    ordered = sorted(depths.items(), key=lambda item: (-sum(item[1][2:8]), item[0]))
    yield from ordered[:MAX_SERIES]
    if rest := [row for _, row in ordered[MAX_SERIES:]]:
        sums = [sum(numbers) for numbers in zip(*(row[2:8] for row in rest), strict=True)]
        yield OTHER, DepthRow._make((rest[0].at, OTHER, *sums, max(row.waited or 0 for row in rest)))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)
