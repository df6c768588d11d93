"""The raw statements whose instructions are counted for comparison: those of `raw_limits`, each alone in a process.

On SQLite they use a file of their own beside the store's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.forked import do_as_told
from bench.raw_limits import BULK, RawLimits, RawPostgres, RawSqlite

ROWS = 6_000
"""Rows that wait, however many of them are claimed."""


def insert_singly(url: str, rows: int) -> None:
    """Insert one row per commit."""
    with limits_of(url) as raw:
        raw.insert_singly(rows)


def insert_in_bulk(url: str, rows: int) -> None:
    """Insert 1,000 rows per commit."""
    with limits_of(url) as raw:
        raw.insert_in_bulk(rows)


def consume(url: str, rows: int) -> None:
    """Claim and complete 500 rows per batch."""
    with limits_of(url) as raw:
        raw.create_table()
        raw.insert(ROWS, batch=BULK)
        raw.consume(rows, batch=500)


def commit_cursor(url: str, commits: int) -> None:
    """Rewrite one small row, with a commit each time."""
    with limits_of(url) as raw:
        raw.commit_cursor(commits)


@contextmanager
def limits_of(url: str) -> Iterator[RawLimits]:
    """Open the bare database of a store."""
    if url.startswith("sqlite:"):
        beside = Path(url.removeprefix("sqlite:///")).parent
        with tempfile.TemporaryDirectory(dir=beside) as folder, RawSqlite(Path(folder)) as raw:
            yield raw
    else:
        with RawPostgres(url) as raw:
            yield raw


WORKS: dict[str, Callable[[str, int], None]] = {
    "insert_singly": insert_singly,
    "insert_in_bulk": insert_in_bulk,
    "consume": consume,
    "commit_cursor": commit_cursor,
}

if __name__ == "__main__":
    do_as_told(WORKS)
