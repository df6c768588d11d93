"""The stores that are measured: a SQLite file on the disk of the project, a private PostgreSQL that syncs every commit.

Each gives fresh stores and its yardstick, and can be asked in plain SQL behind the library's back.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench.raw_limits import RawLimits, RawPostgres, RawSqlite
from tests.servers import PostgresServer, postgres_server

Ask = Callable[[str], tuple[int, ...]]

SCRATCH = Path(__file__).parents[1] / "build"
POSTGRES = "18"
OLDEST = "00000000-0000-7000-8000-"
"""How ids begin that were made before all others; twelve digits follow."""

DURABLE = {"synchronous_commit": "on"}
"""Beside fsync and full_page_writes; everything else is as PostgreSQL comes."""


class Tally(NamedTuple):
    """What a store holds; the times are microseconds on its own clock."""

    completed: int
    first_start: int
    last_end: int


class MeasuredStore(ABC):
    """One kind of store."""

    name: str
    folder: Path
    """Where its files lie."""
    prefix: str
    """What stands before the names of its tables."""
    false: str
    """In its SQL."""
    numbered_id: str
    """The id of job n, before every other, in a statement that selects from `numbers`."""

    @abstractmethod
    def version(self) -> str:
        """What it is, and which."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[str]:
        """The URL of a new store without a schema; gone after the block."""

    @abstractmethod
    def yardstick(self) -> AbstractContextManager[RawLimits]:
        """The raw limits of the same database."""

    @abstractmethod
    def asking(self, url: str) -> AbstractContextManager[Ask]:
        """A connection that answers SQL with one row."""

    @abstractmethod
    def settle(self, url: str) -> None:
        """Does for our tables what the yardstick's `settle` does for its own."""

    @abstractmethod
    def fill(self, url: str, statements: Sequence[str]) -> None:
        """Runs statements behind the library's back, and leaves no work of theirs to be done later."""

    @abstractmethod
    def numbers(self, count: int) -> str:
        """A table with a column n, from 1 on, for a statement to select from."""

    def is_idle(self, ask: Ask) -> bool:
        """True when no job waits or runs."""
        tables = (f"{self.prefix}ready", f"{self.prefix}leases")
        return not any(ask(f"select exists (select 1 from {table})")[0] for table in tables)

    def runner_count(self, ask: Ask) -> int:
        """How many runners are on the list."""
        return ask(f"select count(*) from {self.prefix}runners")[0]

    def tally(self, ask: Ask, *, end: str = "completed") -> Tally:
        """How many jobs are completed, or came to this other end, and in which time."""
        columns = "count(*), coalesce(min(started_at), 0), coalesce(max(finished_at), 0)"
        return Tally(*ask(f"select {columns} from {self.prefix}jobs where state in ('completed', '{end}')"))


class SqliteStore(MeasuredStore):
    """Files in one folder."""

    name = "sqlite"
    prefix = "posthorse_"
    false = "0"
    numbered_id = f"printf('{OLDEST}%012x', n)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        file = self.folder / f"{uuid.uuid4().hex[:12]}.db"
        try:
            yield f"sqlite:///{file}"
        finally:
            for left in self.folder.glob(f"{file.name}*"):
                left.unlink()

    def yardstick(self) -> RawLimits:
        return RawSqlite(self.folder, synchronous="FULL")

    @contextmanager
    def asking(self, url: str) -> Iterator[Ask]:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            yield lambda query: _only(connection.execute(query).fetchone())

    def settle(self, url: str) -> None:
        """Nothing, as there."""

    def fill(self, url: str, statements: Sequence[str]) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute("pragma wal_checkpoint(truncate)")

    def numbers(self, count: int) -> str:
        counting = f"select 1 union all select n + 1 from numbers where n < {count}"
        return f"(with recursive numbers(n) as ({counting}) select n from numbers) as numbers"


class PostgresStore(MeasuredStore):
    """Databases of one server."""

    name = "postgres"
    prefix = "posthorse."
    false = "false"
    numbered_id = f"('{OLDEST}' || lpad(to_hex(n), 12, '0'))::uuid"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.folder = server.directory

    def version(self) -> str:
        with psycopg.connect(self._server.url()) as connection:
            return f"PostgreSQL {_only(connection.execute('show server_version').fetchone())[0]}"

    def fresh(self) -> AbstractContextManager[str]:
        return self._server.database()

    @contextmanager
    def yardstick(self) -> Iterator[RawLimits]:
        with self._server.database() as url, RawPostgres(url) as raw:
            yield raw

    @contextmanager
    def asking(self, url: str) -> Iterator[Ask]:
        with psycopg.connect(url, autocommit=True) as connection:
            yield lambda query: _only(connection.execute(query.encode()).fetchone())

    def settle(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum analyze posthorse.jobs, posthorse.ready")

    def fill(self, url: str, statements: Sequence[str]) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")

    def numbers(self, count: int) -> str:
        return f"generate_series(1, {count}) as numbers(n)"


@contextmanager
def sqlite_store() -> Iterator[SqliteStore]:
    """On the disk of the project, for the system's temporary folder may be in memory."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        yield SqliteStore(Path(os.path.realpath(folder)))


@contextmanager
def postgres_store() -> Iterator[PostgresStore]:
    """In the system's temporary folder. Raises ServerMissing."""
    with postgres_server(POSTGRES, fsync=True, settings=DURABLE) as server:
        yield PostgresStore(server)


STORES = {"sqlite": sqlite_store, "postgres": postgres_store}
"""By the names that programs take."""


def _only(row: tuple[int, ...] | None) -> tuple[int, ...]:
    if row is None:
        raise LookupError("the query gave no row")
    return row
