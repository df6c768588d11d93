"""The memory of a worker: at rest, over many small jobs, and while large jobs wait for their turn.

The arguments of a job should enter a worker when its turn comes, however many jobs wait, and leave with it.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice

import psutil

from bench.application import TARGET, app, opened, swallow
from bench.draining import complete, enqueue
from bench.measure import Sample, Setup
from bench.processes import family, proportional_size
from bench.stores import Ask, MeasuredStore
from posthorse.cli.bench_measures import Worker, running_worker

LARGE = 1_000_000
"""Characters of a large argument."""

A_CALL = 20
"""Large jobs that one call enqueues."""

REST = 2.0
"""Seconds in which a worker looks for the first time and imports what that needs."""

EVERY = 0.05
"""Fewest seconds between two readings, because they take processor time that the worker could use."""

FAMILY_INTERVAL = 0.2
"""Seconds between two searches for processes: a runner starts after its supervisor, and may be replaced."""


class Gauge:
    """The highest total of a worker's processes at any reading; memory that several share is divided among them
    (PSS)."""

    def __init__(self, worker: Worker) -> None:
        self.peak = 0
        self._worker = worker
        self._processes: list[psutil.Process] = []
        self._next = self._next_look = 0.0

    def read(self) -> None:
        """Take a reading, unless there was one a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        if now >= self._next_look:
            self._processes = family(self._worker.pid)
            self._next_look = now + FAMILY_INTERVAL
        self.peak = max(self.peak, proportional_size(self._processes))
        self._next = time.monotonic() + EVERY


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield megabytes of a worker with one process; each peak beside the size of another worker at rest, just
    before."""
    sizes = setup.sizes
    rest = _at_rest(setup)
    yield Sample("a worker at rest, memory (PSS)", "MB", rest)
    halves = _over_small_jobs(setup)
    for half, peak in zip(("first", "second"), halves, strict=True):
        yield Sample(f"the {half} half of {sizes.many:,} small jobs, most memory", "MB", peak, rest)
    name = f"{sizes.large:,} jobs of {LARGE / 1e6:g} MB behind {sizes.jobs:,} small ones, most memory"
    yield Sample(name, "MB", _over_waiting_jobs(setup), rest)


def _at_rest(setup: Setup) -> float:
    store = setup.store
    with store.fresh() as url, opened(url), store.asking(url) as ask, _worker(setup, url) as worker:
        worker.wait_until(lambda: store.runner_count(ask) == 1)
        time.sleep(REST)
        gauge = Gauge(worker)
        gauge.read()
    return gauge.peak / 1e6


def _over_small_jobs(setup: Setup) -> Iterator[float]:
    """Measure a worker over the first half of the jobs, and the same worker over the second half."""
    store, half = setup.store, setup.sizes.many // 2
    with store.fresh() as url, opened(url), store.asking(url) as ask, _worker(setup, url) as worker:
        for number in (1, 2):
            gauge = Gauge(worker)
            left = (swallow.bind("small") for _ in range(half))
            while some := list(islice(left, 1_000)):
                app.enqueue_many(some)
                gauge.read()
            _drain(store, ask, worker, gauge)
            complete(store.tally(ask), number * half)
            yield gauge.peak / 1e6


def _over_waiting_jobs(setup: Setup) -> float:
    """Measure large jobs behind small ones of their kind, which were so quick that many jobs are claimed ahead."""
    store, small, large = setup.store, setup.sizes.jobs, setup.sizes.large
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        enqueue(swallow.bind("small") for _ in range(small))
        _enqueue_large(large)
        store.settle(url)
        with _worker(setup, url) as worker:
            gauge = Gauge(worker)
            _drain(store, ask, worker, gauge)
            complete(store.tally(ask), small + large)
    return gauge.peak / 1e6


def _enqueue_large(count: int) -> None:
    text = base64.b64encode(random.Random(0).randbytes(LARGE * 3 // 4)).decode()  # no store can compress this
    left = (swallow.bind(text) for _ in range(count))
    while some := list(islice(left, A_CALL)):
        app.enqueue_many(some)


def _drain(store: MeasuredStore, ask: Ask, worker: Worker, gauge: Gauge) -> None:
    def is_done() -> bool:
        gauge.read()
        return store.is_idle(ask)

    worker.wait_until(is_done)


def _worker(setup: Setup, url: str) -> AbstractContextManager[Worker]:
    return running_worker(TARGET, url, processes=1, concurrency=setup.concurrency)
