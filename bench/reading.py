"""How reads of one process bear each other: `status()` beside a long count, many at once, and many that wait.

The jobs are put there behind the library's back, as in `lists`.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import posthorse as ph
from bench.lists import rows
from bench.measure import Sample, Setup
from posthorse.store.base import Operation

AT_ONCE = 100
REPEATS = 50
MIN_SAMPLES = 400
WARM_UP = 1.0
"""Seconds after which the looks for new callers are over."""
WAITING = 4.0
"""Seconds for which callers that wait are observed: less than after which they ask why their jobs do not run."""
COUNTED = "tag:unknown"
"""A filter that must look at every job."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Give latencies of reads in ms, and what a second of waiting costs."""
    store, sizes = setup.store, setup.sizes
    with store.fresh() as url:
        app = ph.Posthorse(url)
        app.store.migrate()
        store.fill(url, rows(store, sizes.jobs))
        store.settle(url)

        @app.job
        def waited() -> None:
            """Wait for a worker that never comes."""

        jobs = app.enqueue_many([waited.bind() for _ in range(sizes.waiting)])
        yield from _beside_a_count(app, jobs[0])
        yield from _at_once(app, jobs[:AT_ONCE])
        yield from asyncio.run(_waiting(app, jobs))
        app.close()


def _beside_a_count(app: ph.Posthorse, job: ph.Job[None]) -> Iterator[Sample]:
    """Compare `status()` while all jobs are counted, again and again, with the same at rest."""
    at_rest = _latencies(job, lambda count: count >= MIN_SAMPLES)
    with _counting(app) as counts:
        beside = _latencies(job, lambda count: count >= MIN_SAMPLES and counts[0] > 0)
    for name, percent in (("p50", 50), ("p99", 99)):
        yield Sample(
            f"status() beside a count, {name}", "ms", _percentile(beside, percent), _percentile(at_rest, percent)
        )


def _latencies(job: ph.Job[None], is_enough: Callable[[int], bool]) -> Sequence[float]:
    job.status()
    took: list[float] = []
    while not is_enough(len(took)):
        begun = time.perf_counter()
        job.status()
        took.append((time.perf_counter() - begun) * 1000)
    return took


@contextmanager
def _counting(app: ph.Posthorse) -> Iterator[list[int]]:
    """Count all jobs in another thread until the block ends; yield how often that was done."""
    counts, is_over, has_begun = [0], threading.Event(), threading.Event()

    def count() -> None:
        while not is_over.is_set():
            has_begun.set()
            app.jobs(COUNTED).count()
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    has_begun.wait()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()


def _at_once(app: ph.Posthorse, jobs: Sequence[ph.Job[None]]) -> Iterator[Sample]:
    """Compare a hundred `astatus()` at once with a hundred `status()`, one after the other."""

    async def all_at_once() -> tuple[float, float]:
        await asyncio.gather(*(job.astatus() for job in jobs))
        begun, used = time.perf_counter(), time.process_time()
        for _ in range(REPEATS):
            await asyncio.gather(*(job.astatus() for job in jobs))
        return (time.perf_counter() - begun) * 1000 / REPEATS, (time.process_time() - used) * 1000 / REPEATS

    def one_by_one() -> tuple[float, float]:
        begun, used = time.perf_counter(), time.process_time()
        for _ in range(REPEATS):
            for job in jobs:
                job.status()
        return (time.perf_counter() - begun) * 1000 / REPEATS, (time.process_time() - used) * 1000 / REPEATS

    wall, used = asyncio.run(all_at_once())
    plain_wall, plain_used = one_by_one()
    yield Sample(f"{len(jobs)} astatus() at once", "ms", wall, plain_wall)
    yield Sample(f"{len(jobs)} astatus() at once, processor time", "ms", used, plain_used)


async def _waiting(app: ph.Posthorse, jobs: Sequence[ph.Job[None]]) -> Sequence[Sample]:
    """Return what callers of `aresult()` cost in a second while no job ends."""
    statements = 0
    backend, read = app.store.backend, app.store.backend.read

    def counted(operation: Operation[object]) -> object:
        nonlocal statements
        statements += 1
        return read(operation)

    waiting = [asyncio.create_task(job.aresult()) for job in jobs]
    await asyncio.sleep(WARM_UP)
    backend.read = counted  # type: ignore[method-assign, assignment]  # only here, to count
    begun, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(WAITING - WARM_UP)
    seconds = time.perf_counter() - begun
    rate, busy = statements / seconds, (time.process_time() - used) * 1000 / seconds
    backend.read = read  # type: ignore[method-assign]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return (
        Sample(f"{len(jobs):,} aresult() that wait, statements", "/s", rate),
        Sample(f"{len(jobs):,} aresult() that wait, processor time", "ms/s", busy),
    )


def _percentile(took: Sequence[float], percent: int) -> float:
    return statistics.quantiles(took, n=100, method="inclusive")[percent - 1] if percent < 100 else max(took)
