"""Pickup: how long a job waits for an idle worker, from the call of enqueue to the first line of its code.

In between are two commits, that of the job and that of the claim. After a pause, when processes sleep and caches are
cold, a commit takes several times as long as in a loop; so the bare commit that is measured follows pauses, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.application import TARGET, app, opened, tell_beginning
from bench.measure import Sample, Setup
from posthorse.cli.bench_measures import UNDISTURBED, percentile, pickup_times, rest, running_worker


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield milliseconds, beside those of a commit; for a worker in a process of its own, and for one in this
    process."""
    store, count = setup.store, setup.sizes.pickups
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        raw = _commit_times(setup)
        with running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker:
            worker.wait_until(lambda: store.runner_count(ask) == 1)
            tell_beginning.enqueue().result()
            times = pickup_times(tell_beginning, count)
    yield from _samples("pickup by a worker process", times, raw)
    with store.fresh() as url, opened(url):
        raw = _commit_times(setup)
        with app.worker(concurrency=setup.concurrency):
            tell_beginning.enqueue().result()
            times = pickup_times(tell_beginning, count)
    yield from _samples("pickup by an embedded worker", times, raw)


def _commit_times(setup: Setup) -> list[float]:
    """Return the milliseconds of commits of one row, each after a pause."""
    setup.raw.create_table()
    setup.raw.insert(1, batch=1)  # prepares the statement
    times: list[float] = []
    for _ in range(setup.sizes.pickups):
        rest()
        time.sleep(UNDISTURBED)
        times.append(1_000 * setup.raw.insert(1, batch=1))
    return times


def _samples(name: str, times: Sequence[float], raw: Sequence[float]) -> Iterator[Sample]:
    yield Sample(f"{name}, p50", "ms", percentile(times, 0.5), percentile(raw, 0.5))
    yield Sample(f"{name}, p99", "ms", percentile(times, 0.99), percentile(raw, 0.99))
