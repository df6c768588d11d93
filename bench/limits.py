"""Limits: what held jobs cost free ones. Measures the pace of free jobs beside many held ones of one busy key.

The yardstick is the same run in a new store with the same kinds, and the key just as busy, but without held jobs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import posthorse as ph
from bench.application import app, noop, opened
from bench.measure import Sample, Setup
from bench.stores import Ask, MeasuredStore
from posthorse.cli.bench_measures import Worker, running_worker

TARGET = f"{__name__}:app"
CALL = 1_000
"""Jobs that one call enqueues."""

LOOK = 0.05


@app.job(concurrency=ph.Concurrency(1, per="key"))
async def occupy(ctx: ph.Context, key: int) -> None:
    """Keep a key busy for as long as the worker runs."""
    while not ctx.stop_requested:  # noqa: ASYNC110 - it is a flag
        await asyncio.sleep(LOOK)


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield free jobs per second while other jobs are being held, and afterwards."""
    held = setup.sizes.held
    unlimited = _pace(setup, held=0, is_busy=False)
    free = _pace(setup, held=0)
    yield Sample("jobs without limits beside a busy key", "jobs/s", free, unlimited)
    yield Sample("the same while jobs of that key are held", "jobs/s", _pace(setup, held=held), free)
    yield Sample("the same while they are being set aside", "jobs/s", _pace(setup, held=held, at_once=True), free)


def _pace(setup: Setup, *, held: int, is_busy: bool = True, at_once: bool = False) -> float:
    """Return free jobs per second, by the store's clock; `at_once`: while jobs of the busy key still arrive at its
    gate."""
    store, jobs = setup.store, setup.sizes.jobs
    with (
        store.fresh() as url,
        opened(url),
        store.asking(url) as ask,
        running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker,
    ):
        worker.wait_until(lambda: store.runner_count(ask) == 1)
        if is_busy:
            occupy.enqueue(1)
            worker.wait_until(lambda: _count(store, ask, "leases") == 1)
        for _ in range(held // CALL):
            app.enqueue_many([occupy.bind(1)] * CALL)
        if held and not at_once:
            _wait_until_all_are_held(store, ask, worker, held)
        store.settle(url)
        for _ in range(jobs // CALL):
            app.enqueue_many([noop.bind(1, 2)] * CALL)
        worker.wait_until(lambda: _are_free_jobs_done(store, ask, is_busy=is_busy))
        tally = store.tally(ask)
    if tally.completed != jobs:
        raise RuntimeError(f"{tally.completed} of {jobs} jobs were completed; a figure from this would mean nothing")
    return jobs * 1_000_000 / (tally.last_end - tally.first_start)


def _wait_until_all_are_held(store: MeasuredStore, ask: Ask, worker: Worker, held: int) -> None:
    def are_held() -> bool:
        time.sleep(LOOK)
        return _count(store, ask, "ready") == 0 and _count(store, ask, "parked") == held

    worker.wait_until(are_held)


def _are_free_jobs_done(store: MeasuredStore, ask: Ask, *, is_busy: bool) -> bool:
    lane = f"select id from {store.prefix}lanes where kind = 'noop'"
    waits = ask(f"select exists (select 1 from {store.prefix}ready where lane = ({lane}))")[0]
    return not waits and _count(store, ask, "leases") == int(is_busy)


def _count(store: MeasuredStore, ask: Ask, table: str) -> int:
    return ask(f"select count(*) from {store.prefix}{table}")[0]
