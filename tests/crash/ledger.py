"""The ledger: a table beside the jobs to which they write their effects, and how tests read it.

It also reads the store's own tables, to see that every job is in exactly one place. It knows no workers.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import psycopg

import posthorse as ph

INSERT = {
    "sqlite": "INSERT INTO effects (job, item, epoch, pid) VALUES (?, ?, ?, ?)",
    "postgres": "INSERT INTO effects (job, item, epoch, pid) VALUES (%s, %s, %s, %s)",
}

_CREATE = {
    "sqlite": "CREATE TABLE effects (id integer PRIMARY KEY AUTOINCREMENT, job text, item int, epoch int, pid int)",
    "postgres": "CREATE TABLE effects (id bigserial PRIMARY KEY, job text, item int, epoch int, pid int)",
}


class Effect(NamedTuple):
    """One effect, in the order of its writing."""

    item: int
    epoch: int
    pid: int


class JobRow(NamedTuple):
    """A job as the tables show it."""

    id: str
    state: str
    epoch: int
    version: int
    errors: int
    crashes: int
    interruptions: int
    is_ready: bool
    is_leased: bool
    parked: str | None
    epoch_of_lease: int
    """0 if no runner holds it."""


_Rest = tuple[str, int, int, int, int, int, bool, bool, str | None, int]


class Ledger:
    """The ledger of one store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgres"
        self._reader: sqlite3.Connection | psycopg.Connection[tuple[object, ...]] | None = None

    def create(self) -> None:
        with self.connection() as connection:
            connection.execute(_CREATE[self.dialect])

    @contextmanager
    def connection(self) -> Iterator[ph.Connection]:
        """Open a connection of its own, which is committed and closed at the end."""
        if self.dialect == "sqlite":
            file = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30)
            try:
                with file:
                    yield file
            finally:
                file.close()
        else:
            with psycopg.connect(self._url) as server:
                yield server

    def effects(self, job: str) -> list[Effect]:
        """Return the effects in the order in which they were written."""
        place = "?" if self.dialect == "sqlite" else "%s"
        rows = self._rows(f"SELECT item, epoch, pid FROM effects WHERE job = {place} ORDER BY id", job)
        return [Effect(*cast("tuple[int, int, int]", row)) for row in rows]

    def jobs(self) -> list[JobRow]:
        """Return every job and its place."""
        prefix = "posthorse_" if self.dialect == "sqlite" else "posthorse."
        rows = self._rows(
            f"""
            SELECT j.id, j.state, j.epoch, j.version, j.errors, j.crashes, j.losses,
                (SELECT count(*) FROM {prefix}ready r WHERE r.job = j.id),
                (SELECT count(*) FROM {prefix}leases l WHERE l.job = j.id),
                (SELECT min(p.state) FROM {prefix}parked p WHERE p.job = j.id),
                (SELECT coalesce(min(l.epoch), 0) FROM {prefix}leases l WHERE l.job = j.id)
            FROM {prefix}jobs j
            """
        )
        for row in rows:
            assert row[7] in (0, 1), f"job {row[0]} waits in {row[7]} places"
        return [JobRow(str(row[0]), *cast("_Rest", row[1:])) for row in rows]

    def counts(self) -> Counter[str]:
        """Return how many rows the tables with jobs' places have."""
        prefix = "posthorse_" if self.dialect == "sqlite" else "posthorse."
        return Counter(
            {
                name: int(str(self._rows(f"SELECT count(*) FROM {prefix}{name}")[0][0]))
                for name in ("ready", "leases", "parked")
            }
        )

    def check_integrity(self) -> None:
        """Check that the file itself is sound."""
        if self.dialect == "sqlite":
            assert self._rows("PRAGMA integrity_check") == [("ok",)]
            assert self._rows("PRAGMA foreign_key_check") == []

    def close(self) -> None:
        """Close the connection that reads."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        if self._reader is None:
            self._reader = self._connect()
        try:
            return list(self._reader.execute(query, values).fetchall())
        except psycopg.Error:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection | psycopg.Connection[tuple[object, ...]]:
        if self.dialect == "sqlite":
            return sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
        return psycopg.connect(self._url, autocommit=True)
