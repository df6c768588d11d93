"""Migrate a schema on PostgreSQL while others write: no statement keeps them waiting for as much as a second."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import psycopg
from psycopg import errors as pg_errors

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.store.base import Execute, drive
from posthorse.store.migrate import MigrationTransaction, SchemaProgress, Tell, stored_progress
from posthorse.store.postgres.connections import LOCAL_SETTINGS, Connection, ServerFacts
from posthorse.store.postgres.faults import raise_unless_utf8
from posthorse.store.postgres.statements import Statements
from posthorse.store.queries import MigrationStep, Row, Statement, Value

T = TypeVar("T")

LOCK_SECONDS = 0.3
"""How long a step waits for a lock. Writers that come later wait behind it for so long."""

PAUSE_SECONDS = 1.0
"""About how long it leaves writers alone then."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks whether another process has migrated."""

ANOTHER = "another process migrates this store; waiting for it"
TRIES_AGAIN = "other transactions hold locks on a table; trying again"

_IN_THE_WAY = (pg_errors.LockNotAvailable, pg_errors.DeadlockDetected)

_INDEX = """
    SELECT i.indisvalid, EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.index_relid = c.oid)
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
"""
_WEIGHT = """
    SELECT greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = to_regclass(%s)
"""


class PostgresMigrator:
    """Migrates one schema, on a connection of its own. What takes locks does so briefly, and again later."""

    dialect_name = "postgres"
    builds_beside_writers = True

    def __init__(
        self, server: ServerFacts, schema: str, statements: Statements, tell: Tell, *, patience: float
    ) -> None:
        self._server = server
        self._schema = schema
        self._statements = statements
        self._tell = tell
        self._patience = patience
        self._connection = server.connect_to_read()
        digest = hashlib.sha256(f"{statements.channel}/migration".encode()).digest()
        self._lock = int.from_bytes(digest[:8], signed=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that other migrating processes look for, in a transaction that does nothing else.

        They do not queue for it: a statement that waits has a snapshot, and an index is complete only when no earlier
        snapshot is left.
        """
        holder = self._server.connect()
        try:
            if not self._takes_lock(holder):
                self._tell(ANOTHER)
                while not self._takes_lock(holder):
                    time.sleep(LOOK_INTERVAL)
            yield
        finally:
            holder.close()

    def steps(self, text: str) -> Sequence[MigrationStep]:
        """Compile a migration file."""
        return self._statements.queries.steps(text)

    def progress(self) -> SchemaProgress | None:
        """Return how far the schema is; None if there is none."""
        with self._connection.transaction():
            self._connection.execute(LOCAL_SETTINGS)
            return drive(stored_progress(), self._statements.execute_on(self._connection))

    def commit(self, work: Callable[[MigrationTransaction], T]) -> T:
        """Do work in one transaction; if others hold its locks, again a moment later. Raises StoreError."""
        began = monotonic()
        while True:
            try:
                with self._connection.transaction():
                    return work(self._begin())
            except _IN_THE_WAY as error:
                self._wait_for_locks(began, error)

    def build(self, step: MigrationStep) -> None:
        """Build an index while others write. One that another build left incomplete is dropped first."""
        [statement] = step.statements
        began = monotonic()
        while True:
            found = self._connection.execute(_INDEX, [self._schema, step.name]).fetchone()
            try:
                if found is None:
                    self._connection.execute(statement.encoded)
                    return
                is_complete, is_being_built = found
                if is_complete:
                    return
                if is_being_built:  # by the server, for a process that was killed
                    time.sleep(LOOK_INTERVAL)
                else:
                    self._connection.execute(
                        f"DROP INDEX CONCURRENTLY {self._statements.dialect.table(step.name)}".encode()
                    )
            except _IN_THE_WAY as error:
                self._wait_for_locks(began, error)

    def weight_of(self, step: MigrationStep) -> str:
        """Return how large the table of a step is."""
        rows = self._connection.execute(_WEIGHT, [step.table]).fetchone()
        if rows is None:
            return ""
        count, size = cast("tuple[int, int]", rows)
        counted = f"about {count:,} rows, " if count else ""
        return f" ({counted}{size / 1e6:,.0f} MB)" if size >= 1_000_000 else ""

    def _begin(self) -> _PostgresTransaction:
        connection = self._connection
        connection.execute(LOCAL_SETTINGS)
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_SECONDS * 1000:.0f}ms"])
        raise_unless_utf8(connection)
        # What creates a schema, or migrates by the code of version 1, takes this one.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self._statements.channel])
        return _PostgresTransaction(connection, self._schema, self._statements)

    def _takes_lock(self, holder: Connection) -> bool:
        holder.execute("BEGIN")
        holder.execute(LOCAL_SETTINGS)
        holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        # Without parameters: with them, the server would keep the statement, and its snapshot, until the next one.
        row = holder.execute(f"SELECT pg_try_advisory_xact_lock({self._lock})".encode()).fetchone()
        if row == (True,):
            return True
        holder.execute("ROLLBACK")
        return False

    def _wait_for_locks(self, began: float, error: psycopg.Error) -> None:
        if monotonic() - began > self._patience:
            raise StoreError(
                f"other transactions held locks on the tables of {self._schema} for {self._patience / 60:.0f} minutes, "
                "so the migration stopped between two steps; find them in pg_stat_activity, end them, and run "
                "`posthorse migrate` again, which goes on there"
            ) from error
        self._tell(TRIES_AGAIN)
        time.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS * 3 / 2))


class _PostgresTransaction:
    def __init__(self, connection: Connection, schema: str, statements: Statements) -> None:
        self.execute: Execute = statements.execute_on(connection)
        self._connection = connection
        self._schema = schema
        self._statements = statements

    def run(self, statement: Statement, values: Mapping[str, Value]) -> Sequence[Row]:
        """Run a statement of a step; return its rows."""
        cursor = psycopg.RawCursor(self._connection)
        cursor.execute(statement.encoded, statement.parameters(values))
        return cast("Sequence[Row]", cursor.fetchall()) if cursor.description else []

    def run_script(self, text: str) -> None:
        """Run the statements of a schema file."""
        # Looked up first: IF NOT EXISTS needs the right to create schemas even if there is nothing to create.
        found = self._connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self._schema]).fetchone()
        if found is None:
            self._connection.execute(f"CREATE SCHEMA {self._statements.dialect.table('').removesuffix('.')}".encode())
        for statement in self._statements.script(text):
            self._connection.execute(statement)
