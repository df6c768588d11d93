"""A crowd of idle runners: what it costs PostgreSQL, at rest and when a job comes now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.application import TARGET, noop, opened
from bench.measure import Sample, Setup
from bench.stores import Ask, PostgresStore
from posthorse.cli.bench_measures import PATIENCE, running_worker

APART = 0.1
"""Seconds between two jobs."""

LAG = 1.5
"""Seconds until the statistics of a server process are visible: it reports once a second, and when it becomes idle."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield scans of the table `ready`, and transactions: per second at rest, and additionally for each job."""
    if isinstance(setup.store, PostgresStore):
        for runners in setup.sizes.crowds:
            yield from _crowd(setup, setup.store, runners)


def _crowd(setup: Setup, store: PostgresStore, runners: int) -> Iterator[Sample]:
    seconds = setup.sizes.rest / 2
    with (
        store.fresh() as url,
        opened(url),
        store.asking(url) as ask,
        running_worker(TARGET, url, processes=runners, concurrency=setup.concurrency) as worker,
    ):
        worker.wait_until(lambda: store.runner_count(ask) == runners)
        noop.enqueue(1, 2).result(timeout=PATIENCE)
        time.sleep(seconds)  # the runners' first looks
        resting = _counted(ask, lambda: time.sleep(seconds))
        jobs = max(1, round(seconds / APART))
        working = _counted(ask, lambda: _enqueue_now_and_then(jobs))
    for name, at_rest, at_work in zip(("looks at what is ready", "transactions"), resting, working, strict=True):
        yield Sample(f"{runners} runners at rest, {name}", "a second", at_rest)
        yield Sample(f"{runners} runners, {name} for one job", "times", (at_work - at_rest) * APART)


def _enqueue_now_and_then(jobs: int) -> None:
    for number in range(jobs):
        noop.enqueue(number, 2)
        time.sleep(APART)


def _counted(ask: Ask, happens: Callable[[], None]) -> tuple[float, float]:
    """Return the scans and transactions per second while this happened."""
    before, began = _so_far(ask), time.monotonic()
    happens()
    seconds = time.monotonic() - began
    looks, transactions = (now - then for now, then in zip(_so_far(ask), before, strict=True))
    return looks / seconds, transactions / seconds


def _so_far(ask: Ask) -> tuple[int, ...]:
    time.sleep(LAG)
    return ask(
        "select "
        "(select coalesce(sum(idx_scan + seq_scan), 0)::bigint from pg_stat_user_tables where relname = 'ready'), "
        "(select xact_commit + xact_rollback from pg_stat_database where datname = current_database())"
    )
