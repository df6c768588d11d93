"""What `instructions` counts beside that: the bare statements of `raw_limits`, each in a process of its own.

On SQLite they go to a file of their own beside that of the store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.forked import do_as_told
from bench.raw_limits import BULK, RawLimits, RawPostgres, RawSqlite

ROWS = 6_000
"""That wait to be claimed, however many of them are."""


def insert_singly(url: str, rows: int) -> None:
    """One a commit."""
    with limits_of(url) as raw:
        raw.insert_singly(rows)


def insert_in_bulk(url: str, rows: int) -> None:
    """1,000 a commit."""
    with limits_of(url) as raw:
        raw.insert_in_bulk(rows)


def consume(url: str, rows: int) -> None:
    """Claims and completes, 500 a batch."""
    with limits_of(url) as raw:
        raw.create_table()
        raw.insert(ROWS, batch=BULK)
        raw.consume(rows, batch=500)


def commit_cursor(url: str, commits: int) -> None:
    """One small row, rewritten with a commit each."""
    with limits_of(url) as raw:
        raw.commit_cursor(commits)


@contextmanager
def limits_of(url: str) -> Iterator[RawLimits]:
    """The bare database of a store."""
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
