"""Counters of OpenTelemetry, from what the runners of a process count anyway; with the API alone.

They are observed when the application's meter provider collects, so a job costs nothing more. An application that set
no provider has instruments that are never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from posthorse.rules.tallies import Happened
from posthorse.store.operations.tallies import Counted
from posthorse.telemetry.totals import FINISHED, WorkerTotals
from posthorse.version import VERSION

OTHERS: Sequence[tuple[str, Happened, str]] = (
    ("jobs.started", "started", "Attempts that started."),
    ("jobs.retries", "retried", "Attempts that failed and are repeated."),
    ("jobs.lost_leases", "lost", "Attempts that ended with their process."),
)


def observe(counted: Iterable[Counted]) -> None:
    """Add what a runner of this process counted since its last report."""
    _totals().add(counted)


@cache
def _totals() -> WorkerTotals:
    """Make the instruments of this process; return what they observe."""
    totals = WorkerTotals()
    meter = metrics.get_meter("posthorse", VERSION)
    for name, happened, text in OTHERS:
        meter.create_observable_counter(
            name, callbacks=[partial(_observed, totals, happened)], unit="{attempt}", description=text
        )
    meter.create_observable_counter(
        "jobs.finished", callbacks=[partial(_finished, totals)], unit="{job}", description="Jobs that ended."
    )
    return totals


def _observed(totals: WorkerTotals, happened: Happened, _: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(series.times.get(happened, 0), {"messaging.destination.name": queue, "jobs.kind": kind})
        for (queue, kind), series in list(totals.series.items())  # a copy, because the runner's thread adds to it
    ]


def _finished(totals: WorkerTotals, options: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(seen.value, {**(seen.attributes or {}), "jobs.state": state.value})
        for happened, state in FINISHED.items()
        for seen in _observed(totals, happened, options)
    ]
