"""What a crowd of idle runners asks of PostgreSQL: at rest, and for one job that comes now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.application import TARGET, noop, opened
from bench.measure import Sample, Setup
from bench.stores import Ask, PostgresStore
from posthorse.cli.bench_measures import running_worker

CROWDS = (2, 50)
JOBS = 40
APART = 0.1
"""Seconds between two jobs."""

LAG = 1.5
"""Seconds after which a server process has told what it did: once a second, and when it is idle."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Looks at what is ready (scans of that table) and transactions, a second at rest and for one job."""
    if isinstance(setup.store, PostgresStore):
        for runners in CROWDS:
            yield from _crowd(setup, setup.store, runners if setup.sizes.rest > 1 else min(runners, 3))


def _crowd(setup: Setup, store: PostgresStore, runners: int) -> Iterator[Sample]:
    with (
        store.fresh() as url,
        opened(url),
        store.asking(url) as ask,
        running_worker(TARGET, url, processes=runners, concurrency=setup.concurrency) as worker,
    ):
        worker.wait_until(lambda: store.runner_count(ask) == runners)
        noop.enqueue(1, 2).result(timeout=60)
        time.sleep(min(10.0, setup.sizes.rest))
        rest = min(10.0, setup.sizes.rest)
        scans, transactions = _counted(ask)
        time.sleep(rest)
        scans_at_rest, transactions_at_rest = (
            now - before for now, before in zip(_counted(ask), (scans, transactions), strict=True)
        )
        yield Sample(f"{runners} runners at rest, looks at what is ready", "a second", scans_at_rest / rest)
        yield Sample(f"{runners} runners at rest, transactions", "a second", transactions_at_rest / rest)
        scans, transactions = _counted(ask)
        began = time.monotonic()
        for number in range(JOBS):
            noop.enqueue(number, 2)
            time.sleep(APART)
        seconds = time.monotonic() - began
        more_scans, more_transactions = (
            now - before for now, before in zip(_counted(ask), (scans, transactions), strict=True)
        )
        yield Sample(
            f"{runners} runners, looks at what is ready for one job",
            "times",
            (more_scans - scans_at_rest / rest * seconds) / JOBS,
        )
        yield Sample(
            f"{runners} runners, transactions for one job",
            "times",
            (more_transactions - transactions_at_rest / rest * seconds) / JOBS,
        )


def _counted(ask: Ask) -> tuple[int, ...]:
    time.sleep(LAG)
    return ask(
        "select "
        "(select coalesce(sum(idx_scan + seq_scan), 0)::bigint from pg_stat_user_tables where relname = 'ready'), "
        "(select xact_commit + xact_rollback from pg_stat_database where datname = current_database())"
    )
