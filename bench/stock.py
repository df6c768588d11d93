"""How long `take` takes, from a shelf that a worker refills, beside a load of other jobs.

A taker takes one result after the other, as requests of an application do, each in a commit of its own. A worker in
another process makes what is taken, and runs no-op jobs that a thread of this process enqueues.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.measure import Sample, Setup
from bench.stocked import LEVEL, TARGET, app, other, tickets
from posthorse.cli.bench_measures import percentile, running_worker

PAUSE = 0.002
"""Seconds between two takes: faster than that, one taker empties any shelf."""
AT_ONCE, LOAD_PAUSE = 50, 0.05
"""The load: so many jobs at once, and the seconds between."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Give milliseconds of `take()` beside a load, and without one."""
    takes = min(LEVEL // 2, max(200, setup.sizes.jobs // 20))
    with setup.store.fresh() as url:
        app.use_url(url)
        app.migrate()
        with running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker:
            worker.wait_until(_is_full)
            at_rest = _takes(takes)
            worker.wait_until(_is_full)
            with _load():
                beside = _takes(takes)
        app.close()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Sample(f"take() beside a load, {name}", "ms", percentile(beside, share), percentile(at_rest, share))


def _is_full() -> bool:
    return tickets.status().made == LEVEL


def _takes(count: int) -> Sequence[float]:
    tickets.take()
    took: list[float] = []
    for _ in range(count):
        time.sleep(PAUSE)
        begun = time.perf_counter()
        tickets.take()
        took.append((time.perf_counter() - begun) * 1_000)
    return took


@contextmanager
def _load() -> Iterator[None]:
    """Enqueue jobs in another thread until the block ends."""
    is_over = threading.Event()

    def enqueue() -> None:
        while not is_over.wait(LOAD_PAUSE):
            app.enqueue_many([other.bind(number) for number in range(AT_ONCE)])

    thread = threading.Thread(target=enqueue)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
