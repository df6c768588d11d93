"""How long `take` takes, from a shelf that workers refill, beside a load of other jobs.

A taker takes one result after the other, as requests of an application do. Beside it, a worker runs no-op jobs that
another thread enqueues, and makes what is taken.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import posthorse as ph
from bench.measure import Sample, Setup
from posthorse.rules.tuning import Tuning

LEVEL = 2_000
PAUSE = 0.002
"""Seconds between two takes: faster than that, one taker empties any shelf."""
AT_ONCE = 50
"""Jobs of the load that are enqueued at once, and how often: every `LOAD_PAUSE` seconds."""
LOAD_PAUSE = 0.05


def measure(setup: Setup) -> Iterator[Sample]:
    """Give latencies of `take` in ms, beside a load and at rest."""
    takes = min(LEVEL // 2, max(200, setup.sizes.jobs // 20))
    with setup.store.fresh() as url:
        app = ph.Posthorse(url, tuning=Tuning(stock_interval=0.1))
        app.store.migrate()

        @app.job
        def ticket() -> str:
            return "a ticket"

        @app.job
        def other() -> None:
            """Be the load."""

        tickets = app.stock(ticket.bind(), level=LEVEL)
        with app.worker(concurrency=setup.concurrency):
            while tickets.status().made < LEVEL:
                time.sleep(0.05)
            at_rest = _takes(tickets, takes)
            while tickets.status().made < LEVEL:
                time.sleep(0.05)
            with _load(app, other):
                beside = _takes(tickets, takes)
        for name, percent in (("p50", 50), ("p99", 99)):
            yield Sample(
                f"take() beside a load, {name}", "ms", _percentile(beside, percent), _percentile(at_rest, percent)
            )
        app.close()


def _takes(tickets: ph.Stock[str], count: int) -> Sequence[float]:
    tickets.take()
    took: list[float] = []
    for _ in range(count):
        time.sleep(PAUSE)
        begun = time.perf_counter()
        tickets.take()
        took.append((time.perf_counter() - begun) * 1000)
    return took


@contextmanager
def _load(app: ph.Posthorse, other: ph.Kind[[], None]) -> Iterator[None]:
    """Enqueue jobs in another thread until the block ends."""
    is_over = threading.Event()

    def enqueue() -> None:
        while not is_over.wait(LOAD_PAUSE):
            app.enqueue_many([other.bind() for _ in range(AT_ONCE)])

    thread = threading.Thread(target=enqueue)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _percentile(took: Sequence[float], percent: int) -> float:
    return statistics.quantiles(took, n=100, method="inclusive")[percent - 1]
