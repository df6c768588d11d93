"""The store in one SQLite file: WAL, synchronous FULL, one short write transaction at a time.

Always the standard `sqlite3` module: two SQLite libraries on one file in a process drop each other's locks
and lose acknowledged commits. Checkpoints never run beside a commit of ours (a lock file sees to that), so the
WAL-reset race of SQLite 3.7.0 to 3.51.2 cannot strike.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec

from posthorse.clock import Clock, boot_id
from posthorse.errors import StoreError, StoreUnreachable
from posthorse.store.base import Ask, AsyncExecute, Execute, Operation, Rows, drive
from posthorse.store.committer import Answer
from posthorse.store.connections import AsyncSqliteConnection
from posthorse.store.deadline import Deadlines
from posthorse.store.queries import Dialect, Queries, Value, rows_as_json

OLDEST = (3, 35, 0)
"""RETURNING came with 3.35."""

DIALECT = Dialect(
    name="sqlite",
    table=lambda name: f"posthorse_{name}",
    placeholder=lambda number: f"?{number}",
    expressions={},
)

BUSY_SECONDS = 30.0
CHECKPOINT_BYTES = 4_096_000
DRAIN_SECONDS = 0.05

_decode_rows = msgspec.json.Decoder(list[tuple[str | int | float | None, ...]]).decode
_queries = Queries(DIALECT)


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
        self._clock = clock
        self.boot = boot_id()
        self._turnstile = Turnstile(path)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reader_lock = threading.Lock()
        self._spares: list[sqlite3.Connection] = []
        self._deadlines = Deadlines()
        self._commits = 0

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """All operations in one transaction, each in a savepoint of its own unless it is alone."""
        if self._writer is None:
            self._writer = self.connect()
        connection = self._writer
        with self._turnstile.shared():
            _begin(connection)
            try:
                answers = [self._run(connection, operation, alone=len(operations) == 1) for operation in operations]
                if len(answers) == 1 and answers[0][1] is not None:
                    connection.execute("ROLLBACK")
                else:
                    connection.execute("COMMIT")
            except BaseException as error:
                _roll_back(connection)
                raise _explained(error, self.path) from error
        self._checkpoint_now_and_then(connection)
        return answers

    def read(self, operation: Operation[object]) -> object:
        """Runs an operation that only reads, beside the writer."""
        with self._reader_lock:
            if self._reader is None:
                self._reader = self.connect()
            return drive(operation, self.execute_on(self._reader))

    def connect(self) -> sqlite3.Connection:
        """A connection with our settings; transactions are begun and ended by hand."""
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, cached_statements=256
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as error:
            raise StoreUnreachable(
                f"cannot open the SQLite store {self.path}: {error}; check that the folder exists, that it is "
                "writable, and that the file is an SQLite database"
            ) from error
        return connection

    @contextmanager
    def transaction(self, longest: float) -> Iterator[sqlite3.Connection]:
        """A write transaction on a connection of its own, committed at the end of the block.

        Every other writer waits meanwhile, so a block of more than `longest` seconds loses its connection.
        """
        connection = self._spares.pop() if self._spares else self.connect()
        try:
            with self._turnstile.shared():
                _begin(connection)
                with self._deadlines.limit(longest, lambda: _cut_off(connection)):
                    yield connection
                connection.execute("COMMIT")
        except sqlite3.ProgrammingError as error:
            connection.close()
            raise StoreError(
                f"the transaction was rolled back ({error}): it may take {longest:.0f} s, a third of the lease; use "
                "smaller slices"
            ) from error
        except BaseException:
            _roll_back(connection)
            connection.close()
            raise
        self._spares.append(connection)

    @asynccontextmanager
    async def atransaction(self, longest: float) -> AsyncIterator[tuple[AsyncSqliteConnection, AsyncExecute]]:
        """The same for a coroutine; the loop goes on while the transaction waits for its turn and commits."""
        block = self.transaction(longest)
        connection = await asyncio.to_thread(block.__enter__)
        execute = self.execute_on(connection)

        async def aexecute(wanted: Ask) -> Rows:
            return await asyncio.to_thread(execute, wanted)

        try:
            yield AsyncSqliteConnection(connection), aexecute
        except BaseException as error:
            if not block.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            await asyncio.to_thread(block.__exit__, None, None, None)

    def execute_on(self, connection: sqlite3.Connection) -> Execute:
        """A function that runs queries on a connection, for `drive`."""
        now, boot_now = self._clock.now(), self._clock.boot_now()

        def execute(wanted: Ask) -> Rows:
            return self._execute(connection, wanted, now, boot_now)

        return execute

    def run_script(self, connection: sqlite3.Connection, text: str) -> None:
        """Runs a schema or migration file inside the open transaction."""
        for statement in _queries.script(text):
            connection.execute(statement)

    def has_schema(self, connection: sqlite3.Connection) -> bool:
        """True when tables of ours are there."""
        found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'posthorse_meta'").fetchone()
        return found is not None

    def close(self) -> None:
        """Closes all connections."""
        for connection in (self._writer, self._reader, *self._spares):
            if connection is not None:
                connection.close()
        self._spares.clear()
        self._writer = self._reader = None
        self._turnstile.close()

    def _run(self, connection: sqlite3.Connection, operation: Operation[object], *, alone: bool) -> Answer:
        if alone:
            try:
                return drive(operation, self.execute_on(connection)), None
            except Exception as error:
                return None, _explained(error, self.path)
        connection.execute("SAVEPOINT operation")
        try:
            answer = drive(operation, self.execute_on(connection))
        except Exception as error:
            connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
            return None, _explained(error, self.path)
        connection.execute("RELEASE operation")
        return answer, None

    def _execute(self, connection: sqlite3.Connection, wanted: Ask, now: int, boot_now: int) -> Rows:
        query = _queries[wanted.query]
        values: dict[str, Value] = {"now": now, "lease_now": boot_now, "boot": self.boot, **wanted.values}
        if wanted.rows is not None:
            values["rows"] = rows_as_json(wanted.rows)
        answer: Rows = []
        for statement in query.statements:
            cursor = connection.execute(statement.sql, [values[name] for name in statement.names])
            if query.picks and "picked" not in values:
                picked = cast("str", cursor.fetchone()[0])
                if picked == "[]":
                    return []
                values["picked"] = picked
            elif not query.picks:
                answer = cursor.fetchall()
        return cast("Rows", _decode_rows(cast("str", values["picked"]))) if query.picks else answer

    def _checkpoint_now_and_then(self, connection: sqlite3.Connection) -> None:
        """Moves the log into the file when it has grown, while no commit of ours is under way anywhere."""
        self._commits += 1
        if self._commits % 16:
            return
        # The log's file never shrinks, so once it is long each look costs a checkpoint with little to move;
        # that is what SQLite's own automatic checkpoints do too.
        with suppress(OSError, sqlite3.Error):
            if os.stat(f"{self.path}-wal").st_size >= CHECKPOINT_BYTES:
                with self._turnstile.exclusive() as is_alone:
                    if is_alone:
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class Turnstile:
    """Commits pass it side by side, a checkpoint alone; across processes, by `flock` on files beside the store.

    Whoever goes through takes the gate for a moment; a checkpoint keeps the gate while those inside leave, so a
    stream of commits cannot starve it.
    """

    def __init__(self, path: Path) -> None:
        self._paths = (f"{path}-gate", f"{path}-turnstile")
        self._free: list[tuple[_LockFile, _LockFile]] = []

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Waits while a checkpoint runs. Raises StoreUnreachable when that takes too long."""
        with self._files() as (gate, inside):
            if not _lock(gate, fcntl.LOCK_EX, patience=BUSY_SECONDS):
                raise StoreUnreachable(
                    f"a checkpoint of the SQLite store did not end within {BUSY_SECONDS:.0f} s; is a process stopped?"
                )
            fcntl.flock(inside, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(inside, fcntl.LOCK_UN)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """True when no commit runs and none begins; false when those inside do not leave at once."""
        with self._files() as (gate, inside):
            is_alone = False
            try:
                is_alone = _lock(gate, fcntl.LOCK_EX, patience=0) and _lock(
                    inside, fcntl.LOCK_EX, patience=DRAIN_SECONDS
                )
                yield is_alone
            finally:
                fcntl.flock(inside, fcntl.LOCK_UN)
                fcntl.flock(gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes the lock files that nobody uses."""
        self._free.clear()

    @contextmanager
    def _files(self) -> Iterator[tuple[int, int]]:
        # Open files of its own for each passage: flock locks belong to the open file, so threads exclude each other.
        pair = self._free.pop() if self._free else (_LockFile(self._paths[0]), _LockFile(self._paths[1]))
        try:
            yield pair[0].descriptor, pair[1].descriptor
        finally:
            self._free.append(pair)


class _LockFile:
    """An open lock file that closes when it is forgotten."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __del__(self) -> None:
        os.close(self.descriptor)


def _lock(descriptor: int, how: int, *, patience: float) -> bool:
    """Takes a lock within `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.0005)
        else:
            return True


def _begin(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        raise StoreUnreachable(
            f"the SQLite store stayed locked for {BUSY_SECONDS:.0f} s ({error}); another process holds a write "
            "transaction open: find it with `posthorse doctor`"
        ) from error


def _explained(error: BaseException, path: Path) -> BaseException:
    if isinstance(error, sqlite3.Error):
        return StoreError(f"SQLite could not write to {path}: {error}; nothing was written")
    return error


def _cut_off(connection: sqlite3.Connection) -> None:
    # Closing, not rolling back: whatever the block executes next must fail, not commit by itself.
    connection.interrupt()
    connection.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
