"""Endurance: minutes of full load, and what becomes of a store and its workers when jobs never stop coming.

A producer keeps some thousand jobs waiting that do nothing; autovacuum and everything else have their default settings.
Every few seconds, the bench records jobs done, log written, dead rows, sizes, and the memory of the worker's processes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.application import TARGET, app, noop, opened
from bench.draining import enqueue
from bench.numbers import positive
from bench.processes import family, open_files, proportional_size
from bench.stores import STORES, Ask, MeasuredStore, PostgresStore, SqliteStore
from posthorse.cli.bench_measures import running_worker
from tests.servers import ServerMissing

WAITING = 20_000
"""The fewest jobs that should wait when the producer looks; if fewer wait, it adds half as many."""

LOOK = 0.01
"""Seconds until the producer looks again if enough jobs wait."""

EVERY = 5.0
"""Seconds between two records."""

HOT = ("ready", "leases", "parked")
"""Tables whose rows come and go."""


@dataclass(frozen=True)
class Look:
    """The measurements of one moment."""

    at: float
    """Seconds since the first job started."""
    done: int
    """Jobs done since then."""
    log_bytes: int
    """PostgreSQL: bytes written to its log since then. SQLite: the size of the log file."""
    hot_bytes: int
    """PostgreSQL: bytes of the tables whose rows come and go, with their indexes. SQLite: 0, because all is in one
    file."""
    store_bytes: int
    """Bytes of the whole store."""
    dead_rows: int
    """PostgreSQL: rows that wait for autovacuum, by its own statistics. SQLite: 0, because it has none."""
    memory: int
    """Bytes that the worker's processes use; memory that several share is divided among them (PSS)."""
    descriptors: int
    """Files and sockets that these processes have open."""


def run(store: MeasuredStore, *, seconds: float, processes: int) -> Iterator[Look]:
    """Yield a look every few seconds while a worker with this many processes is under full load."""
    with (
        store.fresh() as url,
        opened(url),
        store.asking(url) as ask,
        running_worker(TARGET, url, processes=processes, concurrency=10) as worker,
    ):
        worker.wait_until(lambda: store.runner_count(ask) == processes)
        enqueued, log_before, began = 0, _log_bytes(store, ask, url), time.monotonic()
        next_look = began + EVERY
        while time.monotonic() < began + seconds:
            waiting = _count(store, ask)
            if waiting < WAITING:
                enqueue(noop.bind(number, 2) for number in range(WAITING // 2))
                enqueued += WAITING // 2
            else:
                time.sleep(LOOK)
            if (now := time.monotonic()) >= next_look:
                next_look += EVERY
                living = family(worker.pid)
                yield Look(
                    at=now - began,
                    done=enqueued - _count(store, ask),
                    log_bytes=_log_bytes(store, ask, url)
                    - (0 if app.store.backend.capabilities.is_file else log_before),
                    hot_bytes=_hot_bytes(store, ask),
                    store_bytes=_store_bytes(store, ask, url),
                    dead_rows=_dead_rows(store, ask),
                    memory=proportional_size(living),
                    descriptors=open_files(living),
                )


def told(looks: Sequence[Look]) -> str:
    """Return a table for the terminal: a row for each tenth of the time, and what the second half adds to the first."""
    lines = [
        f"{'minutes':>8} {'jobs/s':>8} {'log, MB':>9} {'hot, MB':>8} {'dead rows':>10} {'PSS, MB':>8} {'files':>6}"
    ]
    step = max(1, len(looks) // 10)
    for before, look in zip((None, *looks[step - 1 :: step]), looks[step - 1 :: step], strict=False):
        begun, done = (before.at, before.done) if before else (0.0, 0)
        lines.append(
            f"{look.at / 60:>8.1f} {(look.done - done) / (look.at - begun):>8,.0f} {look.log_bytes / 1e6:>9,.0f} "
            f"{look.hot_bytes / 1e6:>8,.1f} {look.dead_rows:>10,} {look.memory / 1e6:>8,.0f} {look.descriptors:>6}"
        )
    last = looks[-1]
    a_job = f", {last.log_bytes / last.done:,.0f} bytes of log a job" if last.hot_bytes else ""
    lines.append(f"{last.done:,} jobs in {last.at:,.0f} s{a_job}")
    return "\n".join(lines)


def _count(store: MeasuredStore, ask: Ask) -> int:
    return sum(ask(f"select count(*) from {store.prefix}{table}")[0] for table in ("ready", "leases"))


def _log_bytes(store: MeasuredStore, ask: Ask, url: str) -> int:
    if isinstance(store, SqliteStore):
        return _size(f"{_file(url)}-wal")
    return ask("select (pg_current_wal_lsn() - '0/0')::bigint")[0]


def _hot_bytes(store: MeasuredStore, ask: Ask) -> int:
    if not isinstance(store, PostgresStore):
        return 0
    return sum(ask(f"select pg_total_relation_size('{store.prefix}{table}')")[0] for table in HOT)


def _store_bytes(store: MeasuredStore, ask: Ask, url: str) -> int:
    if isinstance(store, SqliteStore):
        return _size(_file(url))
    return ask("select pg_database_size(current_database())")[0]


def _dead_rows(store: MeasuredStore, ask: Ask) -> int:
    if not isinstance(store, PostgresStore):
        return 0
    return ask("select sum(n_dead_tup)::bigint from pg_stat_user_tables")[0]


def _file(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _size(path: str) -> int:
    return os.stat(path).st_size


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description="Full load for minutes.")
    parser.add_argument("--store", choices=STORES, default="postgres")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="every look goes there")
    given = parser.parse_args()
    looks: list[Look] = []
    with STORES[given.store]() as store:
        for look in run(store, seconds=given.minutes * 60, processes=given.processes):
            looks.append(look)
            print(f"\r{look.at:6.0f} s {look.done:12,} jobs", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        print(f"{store.version()}, {given.processes} processes of 10 jobs at once")
    print(told(looks))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(look) for look in looks], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        _main()
    except ServerMissing as missing:
        sys.exit(f"{missing}; or take --store sqlite")
