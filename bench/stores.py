"""The stores to measure: a SQLite file on the project's disk, and a private PostgreSQL that syncs every commit.

Each provides fresh stores and its yardstick, and runs plain SQL that bypasses the library.
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
"""The beginning of ids that are older than all others; twelve digits follow."""

DURABLE = {"synchronous_commit": "on"}
"""The setting beside fsync and full_page_writes; everything else is PostgreSQL's default."""


class Tally(NamedTuple):
    """What a store contains; the times are in microseconds on its own clock."""

    completed: int
    first_start: int
    last_end: int


class MeasuredStore(ABC):
    """Stores of one kind."""

    name: str
    folder: Path
    """The folder of its files."""
    prefix: str
    """The prefix of the names of its tables."""
    false: str
    """The literal for false in its SQL."""
    numbered_id: str
    """The id of job n, older than every other, in a statement that selects from `numbers`."""

    @abstractmethod
    def version(self) -> str:
        """Return the product and its version."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[str]:
        """Yield the URL of a new store without a schema, which is removed after the block."""

    @abstractmethod
    def yardstick(self) -> AbstractContextManager[RawLimits]:
        """Open the raw limits of the same database."""

    @abstractmethod
    def asking(self, url: str) -> AbstractContextManager[Ask]:
        """Open a connection for SQL that returns one row."""

    @abstractmethod
    def settle(self, url: str) -> None:
        """Do for our tables what the yardstick's `settle` does for its own."""

    @abstractmethod
    def fill(self, url: str, statements: Sequence[str]) -> None:
        """Run statements that bypass the library, and finish all work that they would cause later."""

    @abstractmethod
    def numbers(self, count: int) -> str:
        """Return a table with a column n, from 1 on, for a statement to select from."""

    def is_idle(self, ask: Ask) -> bool:
        """Return True if no job waits or runs."""
        tables = (f"{self.prefix}ready", f"{self.prefix}leases")
        return not any(ask(f"select exists (select 1 from {table})")[0] for table in tables)

    def runner_count(self, ask: Ask) -> int:
        """Return how many runners are registered."""
        return ask(f"select count(*) from {self.prefix}runners")[0]

    def tally(self, ask: Ask, *, end: str = "completed") -> Tally:
        """Return how many jobs are completed, or in this other final state, and in which time."""
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
        """Do nothing, as the yardstick does."""

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
    """Yield a store on the project's disk, because the system's temporary folder may be in memory."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        yield SqliteStore(Path(os.path.realpath(folder)))


@contextmanager
def postgres_store() -> Iterator[PostgresStore]:
    """Yield a store in the system's temporary folder. Raises ServerMissing."""
    with postgres_server(POSTGRES, fsync=True, settings=DURABLE) as server:
        yield PostgresStore(server)


STORES = {"sqlite": sqlite_store, "postgres": postgres_store}
"""Stores by the names that the command lines use."""


def _only(row: tuple[int, ...] | None) -> tuple[int, ...]:
    if row is None:
        raise LookupError("the query gave no row")
    return row
