"""Throughput: how fast a real worker drains a queue of jobs that do nothing, and the processor time that this takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from bench.application import TARGET, app, noop, opened, threaded_noop
from bench.draining import complete, enqueue, pace
from bench.measure import Sample, Setup
from bench.processes import family, processor_time
from posthorse import Kind
from posthorse.cli.bench_measures import running_worker

KINDS: dict[str, Kind[[int, int], None]] = {"async": noop, "sync": threaded_noop}


class Drain(NamedTuple):
    """How a queue was drained."""

    pace: float
    """Jobs per second from the first start to the last end, on the store's clock."""
    with_start: float
    """Seconds since the worker's process was started."""
    processor: float
    """Seconds of user and system time of the worker with all its processes, for the same number of jobs again."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second for coroutines and threads, at each number of processes."""
    jobs = setup.sizes.jobs
    for processes in setup.processes:
        for colour, kind in KINDS.items():
            name = f"{colour} jobs, {processes} process{'es' if processes > 1 else ''}"
            raw = setup.raw.claim_and_complete(jobs).both
            drain = _drain(setup, kind, processes)
            yield Sample(name, "jobs/s", drain.pace, raw)
            yield Sample(f"{name}, with the worker's start", "jobs/s", jobs / drain.with_start)
            yield Sample(f"{name}, processor time", "s/1,000 jobs", drain.processor * 1_000 / jobs)


def _drain(setup: Setup, kind: Kind[[int, int], None], processes: int) -> Drain:
    store, jobs = setup.store, setup.sizes.jobs
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        enqueue([kind.bind(1, 2)] * jobs)
        store.settle(url)
        began = time.time()
        with running_worker(TARGET, url, processes=processes, concurrency=setup.concurrency) as worker:
            worker.wait_until(lambda: store.is_idle(ask))
            tally = complete(store.tally(ask), jobs)
            # As many jobs again, for a worker that is already running: its start is not part of what a job costs.
            worker.wait_until(lambda: store.runner_count(ask) == processes)
            spent_before = processor_time(family(worker.pid))
            app.enqueue_many([kind.bind(1, 2)] * jobs)
            worker.wait_until(lambda: store.is_idle(ask))
            spent = processor_time(family(worker.pid)) - spent_before
            complete(store.tally(ask), 2 * jobs)
    return Drain(
        pace=pace(tally),
        with_start=tally.last_end / 1_000_000 - began,
        processor=spent,
    )
