"""Migrate a SQLite file: each step is a write transaction, and every other writer waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

from posthorse.errors import StoreUnreachable
from posthorse.store.base import Execute, drive, query
from posthorse.store.migrate import MigrationTransaction, SchemaProgress, Tell, stored_progress
from posthorse.store.queries import MigrationStep, Row, Statement, Value
from posthorse.store.sqlite import side_files
from posthorse.store.sqlite.connections import StoreFile, pragma
from posthorse.store.sqlite.statements import Statements
from posthorse.store.sqlite.transactions import Transactions
from posthorse.store.sqlite.turnstile import Turnstile

T = TypeVar("T")

MAX_SECONDS = 3600.0
"""Maximum length of one step, and of the wait for another process's step."""

BYTES_A_SECOND = 45_000_000
"""How much of the file an index takes up in a second, about: 3.5 s a million jobs."""

ANOTHER = "another process migrates this store, or writes to it; waiting for it"


class SqliteMigrator:
    """Migrates one file. Several processes take turns, a step each, because each looks first how far the file is."""

    dialect_name = "sqlite"
    builds_beside_writers = False

    def __init__(self, file: StoreFile, transactions: Transactions, statements: Statements, tell: Tell) -> None:
        self._file = file
        self._transactions = transactions
        self._statements = statements
        self._tell = tell
        self._patience: float | None = None
        """How long it waits for other writers; None: as any write does."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for other writers from now on, as long as a step of another process may take; each step is alone."""
        self._patience = MAX_SECONDS
        yield

    def steps(self, text: str) -> Sequence[MigrationStep]:
        """Compile a migration file."""
        return self._statements.steps(text)

    def progress(self) -> SchemaProgress | None:
        """Return how far the file is, without waiting for other writers; None if it has no schema."""
        session = self._file.open()
        try:
            return drive(stored_progress(), session.execute)
        finally:
            session.close()

    def commit(self, work: Callable[[MigrationTransaction], T]) -> T:
        """Do work in one write transaction."""
        if self._patience is not None:
            self._wait_for_others()
        with self._transactions.begin(MAX_SECONDS, patience=self._patience) as (connection, execute):
            if not execute(query("has_schema")):
                side_files.raise_if_replaced(self._file.path)
            return work(_SqliteTransaction(connection, execute, self._statements))

    def build(self, step: MigrationStep) -> None:
        """Do nothing: an index is built in the transaction of its step."""

    def weight_of(self, step: MigrationStep) -> str:
        """Return how large the file is, and for how long an index that is built keeps others from writing."""
        session = self._file.open()
        try:
            size = int(pragma(session.connection, "page_count")) * int(pragma(session.connection, "page_size"))
        finally:
            session.close()
        held = f"; no process can write meanwhile, for about {size / BYTES_A_SECOND:.0f} s" if step.is_index else ""
        return f" (a file of {size / 1e6:,.0f} MB{held})" if size > BYTES_A_SECOND else ""

    def _wait_for_others(self) -> None:
        tuning = self._file.tuning
        turnstile = Turnstile(self._file.path, tuning)
        try:
            with turnstile.passage(tuning.migration_turn):
                pass
        except StoreUnreachable:
            self._tell(ANOTHER)
        finally:
            turnstile.close()


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection, execute: Execute, statements: Statements) -> None:
        self.execute = execute
        self._connection = connection
        self._statements = statements

    def run(self, statement: Statement, values: Mapping[str, Value]) -> Sequence[Row]:
        """Run a statement of a step; return its rows."""
        return cast("Sequence[Row]", self._connection.execute(statement.sql, statement.parameters(values)).fetchall())

    def run_script(self, text: str) -> None:
        """Run the statements of a schema file."""
        for statement in self._statements.script(text):
            self._connection.execute(statement)
