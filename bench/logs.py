"""Logs: how fast jobs that log are drained, beside the same jobs whose lines are not kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.application import TARGET, app, opened, tell_in_the_log, tell_no_log
from bench.draining import complete, enqueue, pace
from bench.measure import Sample, Setup
from bench.processes import family, processor_time
from posthorse import Kind
from posthorse.cli.bench_measures import running_worker

LINES = 5
"""Lines of a job: 20,000 jobs log 100,000."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second, and the processor time of a worker for 1,000 lines beyond that of the jobs."""
    silent, silent_time = _drain(setup, tell_no_log)
    told, told_time = _drain(setup, tell_in_the_log)
    lines = setup.sizes.jobs * LINES
    yield Sample(f"async jobs that log {LINES} lines", "jobs/s", told, silent)
    yield Sample("1,000 lines, processor time", "s", (told_time - silent_time) * 1_000 / lines)
    yield Sample("100,000 lines that are kept", "s", 100_000 / (told * LINES))


def _drain(setup: Setup, kind: Kind[[int], None]) -> tuple[float, float]:
    """Return jobs per second, and the processor time of the worker with its start."""
    store, jobs = setup.store, setup.sizes.jobs
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        enqueue([kind.bind(LINES)] * jobs)
        store.settle(url)
        with running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker:
            worker.wait_until(lambda: store.is_idle(ask))
            time.sleep(app.store.tuning.logs_interval)
            spent = processor_time(family(worker.pid))
            return pace(complete(store.tally(ask), jobs)), spent
