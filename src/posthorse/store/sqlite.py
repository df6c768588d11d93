"""The store in one SQLite file: WAL, synchronous FULL, one short write transaction at a time.

Always the standard `sqlite3` module: two SQLite libraries on one file in a process drop each other's locks
and lose acknowledged commits. Our commits, and the checkpoints inside them, go one at a time through a lock of our own,
so the WAL-reset race of SQLite 3.7.0 to 3.51.2 cannot strike between them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec

from posthorse.clock import Clock, boot_id
from posthorse.errors import StoreError, UsageError
from posthorse.store import forks
from posthorse.store.base import Ask, AsyncExecute, Execute, Operation, Rows, drive
from posthorse.store.committer import Answer
from posthorse.store.connections import AsyncSqliteConnection
from posthorse.store.deadline import Deadlines
from posthorse.store.queries import LIGHT, Dialect, Queries, Query, Value, pairs_as_json, rows_as_json
from posthorse.store.sqlite_faults import (
    FileIdentity,
    cannot_open,
    code_of,
    explained,
    identity_of,
    is_of_the_file,
    moved,
    unreadable,
)
from posthorse.store.turnstile import Turnstile, locked

OLDEST = (3, 35, 0)
"""RETURNING came with 3.35."""

DIALECT = Dialect(
    name="sqlite",
    table=lambda name: f"posthorse_{name}",
    placeholder=lambda number: f"?{number}",
    expressions={"light_arguments": f"CASE WHEN length(arguments) <= {LIGHT} THEN arguments END"},
)

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn."""
MIGRATION_SECONDS = 3600.0
CHECKPOINT_AFTER = 4_000
"""Pages of the log, of 4 KiB, after which a commit brings it into the file. With SQLite's own 1,000, those that are
written again and again are copied four times as often, with two syncs each time."""

LARGEST_IDLE_LOG = 64_000_000
"""The log is cut back to this many bytes when it begins anew."""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_OTHER_LIBRARIES = ("apsw", "pysqlite3", "sqlean", "sqlcipher3", "libsql_experimental")
"""Modules that bring an SQLite of their own: on our file, beside ours, they would drop its locks."""

_decode_rows = msgspec.json.Decoder(list[tuple[str | int | float | None, ...]]).decode
_queries = Queries(DIALECT)


class Connection(sqlite3.Connection):
    """A connection that knows which file it opened: the name may come to mean another."""

    file: FileIdentity | None = None


class SqliteBackend:
    """Connections to one file: one that writes, one that reads, and one more for each slice transaction."""

    dialect = DIALECT
    channel = ""

    def __init__(self, path: Path, clock: Clock) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise StoreError(
                f"SQLite {sqlite3.sqlite_version} is too old: Posthorse needs 3.35 or newer; use a newer Python"
            )
        self.path = path
        self._name = str(path)
        self._clock = clock
        self.boot = boot_id()
        self.busy_seconds = BUSY_SECONDS
        self._turnstile = Turnstile(path)
        self._writer_lock = threading.Lock()
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._reader_lock = threading.Lock()
        self._spares: list[tuple[Connection, Turnstile]] = []
        self._has_file = False
        """True once the file was opened: from then on nobody makes another in its place."""
        self._deadlines = Deadlines()
        forks.mind(self)

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """All operations in one transaction, each in a savepoint of its own unless it is alone."""
        with self._writer_lock:
            connection = self._writer = self._writer or self.connect()
            turnstile = self._turnstile
            alone = len(operations) == 1
            is_committing = False
            try:
                try:
                    turnstile.enter(self.busy_seconds)
                    self._begin(connection)
                    answers = [self._run(connection, operation, alone=alone) for operation in operations]
                    if alone and answers[0][1] is not None:
                        if connection.in_transaction:  # some errors end it by themselves
                            connection.execute("ROLLBACK")
                    else:
                        self._raise_if_moved(connection)
                        is_committing = True
                        connection.execute("COMMIT")
                        self._raise_if_moved(connection, is_committed=True)
                finally:
                    turnstile.leave()
                if not (operations[0].is_quiet if alone else all(operation.is_quiet for operation in operations)):
                    turnstile.ring()
            except BaseException as error:
                self._writer = None
                _give_up(connection)
                self._turnstile.close()
                if isinstance(error, sqlite3.Error):
                    raise explained(error, self.path, is_in_doubt=is_committing) from error
                raise
            return answers

    def read(self, operation: Operation[object]) -> object:
        """Runs an operation that only reads, beside the writer."""
        with self._reader_lock:
            connection = self._reader = self._reader or self.connect()
            try:
                answer = drive(operation, self.execute_on(connection))
                self._raise_if_moved(connection)
            except sqlite3.Error as error:
                raise unreadable(error, self.path) from error
            except StoreError:
                self._reader = None
                connection.close()
                raise
            return answer

    def connect(self) -> Connection:
        """A connection with our settings; transactions are begun and ended by hand.

        Checkpoints are SQLite's own: they happen inside a commit of ours, so never beside another.
        """
        if forks.was_open_before(self.path):
            raise StoreError(
                f"this process was forked while a connection to {self.path} was open, and SQLite loses commits of such "
                "processes; fork before the first use or outside of transactions, or start processes with `spawn`"
            )
        if self._has_file and identity_of(self.path) is None:
            raise moved(self.path)  # opening it would make a new one
        deadline = time.monotonic() + self.busy_seconds
        connection = None
        try:
            connection = sqlite3.connect(
                self.path,
                isolation_level=None,
                check_same_thread=False,
                timeout=self.busy_seconds,
                cached_statements=256,
                factory=Connection,
            )
            connection.file = identity_of(self.path)
            mode = _set_wal(connection, deadline)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_AFTER}")
            connection.execute(f"PRAGMA journal_size_limit = {LARGEST_IDLE_LOG}")
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the words of an error may quote a damaged schema
            if connection is not None:
                connection.close()
            raise cannot_open(error, self.path) from error
        if mode != "wal":
            connection.close()
            raise StoreError(
                f"{self.path} cannot keep a write-ahead log (its journal mode stays {mode!r}); Posthorse needs a local "
                "disk that can share memory between processes"
            )
        self._has_file = True
        return connection

    @contextmanager
    def transaction(self, longest: float) -> Iterator[tuple[sqlite3.Connection, Execute]]:
        """A write transaction on a connection of its own, committed at the end of the block.

        Every other writer waits meanwhile, so a block of more than `longest` seconds loses its connection.
        """
        connection, turnstile = self._spare() or (self.connect(), Turnstile(self.path))
        cut_off = threading.Event()
        is_committing = False

        def cut() -> None:
            cut_off.set()
            _cut_off(connection)

        try:
            with turnstile.passage(self.busy_seconds):
                self._begin(connection)
                with self._deadlines.limit(longest, cut):
                    yield connection, self.execute_on(connection)
                if not connection.in_transaction and not cut_off.is_set():
                    raise UsageError(
                        "the body of the transaction ended it by itself, so what it wrote and the position of the job "
                        "were not committed together; leave COMMIT and ROLLBACK to the end of the block"
                    )
                self._raise_if_moved(connection)
                is_committing = True
                connection.execute("COMMIT")
                self._raise_if_moved(connection, is_committed=True)
        except BaseException as error:
            _give_up(connection)
            turnstile.close()
            if cut_off.is_set():
                raise StoreError(
                    f"the transaction took more than the {longest:.0f} s that it may, a third of the lease, and was "
                    "rolled back; use smaller slices"
                ) from error
            if is_of_the_file(error):
                raise explained(error, self.path, is_in_doubt=is_committing) from error
            raise
        self._spares.append((connection, turnstile))

    def ring(self) -> None:
        """Wakes those in all processes who wait for work. Commits do so by themselves, transactions do not."""
        self._turnstile.ring()

    @asynccontextmanager
    async def atransaction(self, longest: float) -> AsyncIterator[tuple[AsyncSqliteConnection, AsyncExecute]]:
        """The same for a coroutine; the loop goes on while the transaction waits for its turn and commits."""
        block = self.transaction(longest)
        connection, execute = await asyncio.to_thread(block.__enter__)

        async def aexecute(wanted: Ask) -> Rows:
            return await asyncio.to_thread(execute, wanted)

        try:
            yield AsyncSqliteConnection(connection), aexecute
        except BaseException as error:
            if not block.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            await asyncio.to_thread(block.__exit__, None, None, None)

    @contextmanager
    def migrating(self) -> Iterator[tuple[Execute, Callable[[str], None]]]:
        """A transaction that nobody else migrates in: what runs queries, and what runs files."""

        def run_script(text: str) -> None:
            for statement in _queries.script(text):
                connection.execute(statement)

        with self.transaction(MIGRATION_SECONDS) as (connection, execute):
            yield execute, run_script

    def execute_on(self, connection: sqlite3.Connection) -> Execute:
        """A function that runs queries on a connection, for `drive`."""

        def execute(wanted: Ask) -> Rows:
            return self._execute(connection, wanted)

        return execute

    def values_of(self, query: Query, wanted: Ask) -> dict[str, Value]:
        """The values that a query takes, with those that the store supplies."""
        clock = self._clock
        values: dict[str, Value] = {
            "now": clock.now(),
            "lease_now": clock.boot_now(),
            "boot": self.boot,
            **wanted.values,
        }
        if wanted.rows is not None:
            values["rows"] = (pairs_as_json if query.has_pairs else rows_as_json)(wanted.rows)
        return values

    def health(self) -> Mapping[str, str | int | float | None]:
        """What `posthorse doctor` says about the file; `integrity` is "ok" or the first thing that is wrong."""
        with self._reader_lock:
            connection = self._reader = self._reader or self.connect()
            disk = os.statvfs(self.path)
            try:
                return {
                    "library": sqlite3.sqlite_version,
                    "other_libraries": ", ".join(name for name in _OTHER_LIBRARIES if name in sys.modules) or None,
                    "journal_mode": _pragma(connection, "journal_mode"),
                    "synchronous": _SYNCHRONOUS[int(_pragma(connection, "synchronous"))],
                    "integrity": _integrity(connection),
                    "file_bytes": _size(self.path),
                    "log_bytes": _size(f"{self.path}-wal"),
                    "free_bytes": disk.f_bavail * disk.f_frsize,
                }
            except sqlite3.Error as error:
                raise unreadable(error, self.path) from error

    def close(self) -> None:
        """Closes all connections that are at rest."""
        with self._writer_lock, self._reader_lock:
            self.let_go()
            self._has_file = False

    def locks(self) -> tuple[threading.Lock, ...]:
        """What must be held to let go."""
        return self._writer_lock, self._reader_lock

    def let_go(self) -> None:
        """Closes the connections that are at rest; the next use opens others."""
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = None
        self._turnstile.close()
        while self._spares:
            connection, turnstile = self._spares.pop()
            connection.close()
            turnstile.close()

    def _spare(self) -> tuple[Connection, Turnstile] | None:
        while self._spares:
            connection, turnstile = self._spares.pop()
            if connection.file == identity_of(self.path):
                return connection, turnstile
            connection.close()
            turnstile.close()
        return None

    def _raise_if_moved(self, connection: Connection, *, is_committed: bool = False) -> None:
        # SQLite would go on in a file that nobody finds again; and a sync takes long enough to lose it meanwhile.
        if identity_of(self._name) != connection.file:
            raise moved(self.path, is_committed=is_committed)

    def _begin(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY:
                raise
            raise locked(self.path, self.busy_seconds) from error

    def _run(self, connection: sqlite3.Connection, operation: Operation[object], *, alone: bool) -> Answer:
        if alone:
            try:
                return drive(operation, self.execute_on(connection)), None
            except Exception as error:
                return None, explained(error, self.path)
        connection.execute("SAVEPOINT operation")
        try:
            answer = drive(operation, self.execute_on(connection))
        except Exception as error:
            if not connection.in_transaction:
                raise  # a full or failing disk takes the whole transaction along, neighbours and all
            connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
            return None, explained(error, self.path)
        connection.execute("RELEASE operation")
        return answer, None

    def _execute(self, connection: sqlite3.Connection, wanted: Ask) -> Rows:
        query = _queries[wanted.query]
        values = self.values_of(query, wanted)
        answer: Rows = []
        for statement in query.statements:
            cursor = connection.execute(statement.sql, statement.parameters(values))
            if query.picks and "picked" not in values:
                picked = cast("str", cursor.fetchone()[0])
                if picked == "[]":
                    return []
                values["picked"] = picked
            elif not query.picks:
                answer = cursor.fetchall()
        return cast("Rows", _decode_rows(cast("str", values["picked"]))) if query.picks else answer


def _set_wal(connection: sqlite3.Connection, deadline: float) -> str:
    while True:
        try:
            return str(_pragma(connection, "journal_mode = WAL"))
        except sqlite3.OperationalError as error:
            # The very first switch takes a lock that SQLite does not wait for.
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))


def _pragma(connection: sqlite3.Connection, text: str) -> str | int:
    found: tuple[str | int] = connection.execute(f"PRAGMA {text}").fetchone()
    return found[0]


def _integrity(connection: sqlite3.Connection) -> str | int:
    try:
        return _pragma(connection, "quick_check(1)")
    except sqlite3.DatabaseError as error:  # too damaged even to be checked
        return str(error)


def _size(path: Path | str) -> int | None:
    # Looked up, never opened: closing the file outside of SQLite would drop the locks of this process on it.
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _cut_off(connection: sqlite3.Connection) -> None:
    # Closing, not rolling back: whatever the block executes next must fail, not commit by itself.
    connection.interrupt()
    connection.close()


def _give_up(connection: sqlite3.Connection) -> None:
    """Rolls back, and throws the connection away: after an error nobody knows its state."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()
