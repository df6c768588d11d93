"""The store in PostgreSQL 15 to 18, through psycopg 3: one connection that writes, one that reads.

Knows about poolers: behind one that shares server connections between transactions, nothing is prepared and
nothing is set for a session.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import psycopg
from psycopg import errors as pg_errors
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader

from posthorse.clock import Clock
from posthorse.errors import OutcomeUnknown, StoreError, StoreUnreachable
from posthorse.store.base import Ask, AsyncExecute, Execute, Operation, Rows, adrive, drive
from posthorse.store.committer import Answer
from posthorse.store.operations.finish import Disturbed
from posthorse.store.queries import Dialect, Queries, Query, Value, rows_as_arrays

T = TypeVar("T")
Connection = psycopg.Connection[tuple[object, ...]]

_NOW = "((extract(epoch FROM statement_timestamp()) * 1000000)::bigint + :shift::bigint)"

# Every statement starts from what it was given and reaches rows by key: a generic plan is right at every
# size, and the planner must not be led astray by statistics of tables that fill and empty all day.
_SESSION = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; "
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off"
)

PATIENCE = 30.0
"""Seconds for which a store that went away is asked again before its callers hear of it."""


def dialect(schema: str) -> Dialect:
    """PostgreSQL with our tables in `schema`."""
    quoted = '"' + schema.replace('"', '""') + '"'
    return Dialect(
        name="postgres",
        table=lambda name: f"{quoted}.{name}",
        placeholder=lambda number: f"${number}",
        expressions={"now": _NOW, "lease_now": _NOW},
    )


class PostgresBackend:
    """Connections to one database."""

    boot = ""
    """The server's clock judges leases; it does not matter where a runner's machine was booted."""

    def __init__(self, url: str, schema: str, clock: Clock) -> None:
        self.schema = schema
        self.dialect = dialect(schema)
        self.channel = f"posthorse_{schema}"
        self.queries = Queries(self.dialect)
        self._url = url
        self._clock = clock
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._reader_lock = threading.Lock()

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """All operations in one transaction; when one is at fault, it alone fails."""
        try:
            return self._persevere(lambda: self._commit_group(operations))
        except (psycopg.Error, Disturbed) as error:
            if len(operations) == 1:
                return [(None, _explained(error))]
        except Exception as error:
            if len(operations) == 1:
                return [(None, error)]
        # Halves, down to the single operation at fault.
        middle = len(operations) // 2
        return [*self.commit(operations[:middle]), *self.commit(operations[middle:])]

    def read(self, operation: Operation[object]) -> object:
        """Runs an operation that only reads, beside the writer."""
        with self._reader_lock:
            try:
                return self._persevere(lambda: self._read_once(operation))
            except psycopg.Error as error:
                raise _explained(error) from error

    def connect(self) -> Connection:
        """A connection in autocommit, as it comes from the server."""
        try:
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10, **_KEEPALIVE)
        except psycopg.OperationalError as error:
            raise _unreachable(error) from error
        connection.adapters.register_loader("uuid", TextLoader)
        connection.adapters.register_dumper(int, Int8Dumper)
        if is_pooled(connection):
            connection.prepare_threshold = None
        return connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction on a connection of its own, with the search path of the database."""
        with self.connect() as connection, connection.transaction():
            yield connection

    def execute_on(self, connection: Connection) -> Execute:
        """A function that runs queries on a connection, for `drive`."""
        cursor = psycopg.RawCursor(connection)

        def execute(wanted: Ask) -> Rows:
            query = self.queries[wanted.query]
            values = self._values(query, wanted)
            for statement in query.statements:
                cursor.execute(statement.sql, [values[name] for name in statement.names], prepare=True)
            return cast("Rows", cursor.fetchall()) if cursor.description else []

        return execute

    def has_schema(self, connection: Connection) -> bool:
        """True when tables of ours are there. Holds others off until the end of the transaction."""
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self.channel])
        found = connection.execute("SELECT to_regclass(%s)", [self.dialect.table("meta")]).fetchone()
        return found is not None and found[0] is not None

    def run_script(self, connection: Connection, text: str) -> None:
        """Runs a schema or migration file inside the open transaction."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self.dialect.table('')[:-1]}".encode())
        for statement in self.queries.script(text):
            connection.execute(statement.encode())

    def close(self) -> None:
        """Closes all connections."""
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = None

    def _commit_group(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        if self._writer is None or self._writer.closed:
            self._writer = self._tuned()
        execute = self.execute_on(self._writer)
        if len(operations) == 1 and operations[0].is_single:
            return [(drive(operations[0], execute), None)]
        with self._writer.transaction():
            return [(drive(operation, execute), None) for operation in operations]

    def _read_once(self, operation: Operation[object]) -> object:
        if self._reader is None or self._reader.closed:
            self._reader = self.connect()
        return drive(operation, self.execute_on(self._reader))

    def _tuned(self) -> Connection:
        connection = self.connect()
        if connection.prepare_threshold is not None:
            connection.execute(_SESSION)
        return connection

    def _persevere(self, attempt: Callable[[], T]) -> T:
        """Tries again after what passes: deadlocks, a server that restarts, a connection that broke.

        An operation may be run again after a commit whose reply was lost: each finds what it wrote.
        """
        deadline = time.monotonic() + PATIENCE
        failures = 0
        while True:
            try:
                return attempt()
            except (Disturbed, pg_errors.DeadlockDetected, pg_errors.SerializationFailure):
                pause = random.uniform(0, 0.01)
            except (psycopg.OperationalError, psycopg.InterfaceError, StoreUnreachable) as error:
                if not _may_pass(error, self._writer, self._reader):
                    raise
                pause = random.uniform(0.05, min(2.0, 0.1 * 2**failures))
            failures += 1
            if time.monotonic() + pause > deadline:
                raise StoreUnreachable(
                    f"PostgreSQL did not answer for {PATIENCE:.0f} s; is it running, and may this machine reach it?"
                )
            time.sleep(pause)

    def _values(self, query: Query, wanted: Ask) -> dict[str, Value]:
        values: dict[str, Value] = {
            "shift": self._clock.shift,
            "boot": self.boot,
            "channel": self.channel,
            **wanted.values,
        }
        if wanted.rows is not None:
            values.update(rows_as_arrays(wanted.rows, query.columns))
        return values


_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def is_pooled(connection: Connection) -> bool:
    """True behind a pooler: the backend that answers is not the one that the connection was told of."""
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    return row is not None and row[0] != connection.info.backend_pid


def _may_pass(error: Exception, *connections: Connection | None) -> bool:
    if isinstance(error, StoreUnreachable):
        return True
    if any(connection is not None and connection.closed for connection in connections):
        return True
    return isinstance(
        error,
        pg_errors.AdminShutdown
        | pg_errors.CrashShutdown
        | pg_errors.CannotConnectNow
        | pg_errors.TooManyConnections
        | pg_errors.ConnectionException
        | pg_errors.IdleInTransactionSessionTimeout,
    )


def _unreachable(error: psycopg.Error) -> StoreUnreachable:
    return StoreUnreachable(f"PostgreSQL cannot be reached: {str(error).strip()}")


def _explained(error: Exception) -> Exception:
    if isinstance(error, pg_errors.UndefinedTable | pg_errors.InvalidSchemaName):
        return StoreError(f"the schema of Posthorse is missing ({str(error).splitlines()[0]}); run `posthorse migrate`")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnreachable(f"PostgreSQL went away: {str(error).strip()}")
    if isinstance(error, psycopg.Error):
        return StoreError(f"PostgreSQL refused: {str(error).strip()}")
    return error
