"""The store in one SQLite file: WAL, synchronous FULL, one short write transaction at a time.

It always uses the standard `sqlite3` module: two SQLite libraries on one file in a process drop each other's locks and
lose acknowledged commits. Our commits, and the checkpoints inside them, go one at a time through a lock of our own, so
the WAL-reset race of SQLite 3.7.0 to 3.51.2 cannot happen between them.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from posthorse.clock import Clock
from posthorse.errors import StoreError, TookTooLong
from posthorse.rules.tuning import Tuning
from posthorse.store.address import is_there, make_folder
from posthorse.store.backend import Capabilities
from posthorse.store.base import AsyncExecute, BoundQuery, Execute, Operation, drive
from posthorse.store.committer import Answer
from posthorse.store.connections import AsyncSqliteConnection
from posthorse.store.looks import Places, TimeAllowed
from posthorse.store.migrate import Migrator, Tell
from posthorse.store.other_sqlites import OTHER_SQLITES
from posthorse.store.queries import Query, Value
from posthorse.store.sqlite import forks, side_files
from posthorse.store.sqlite.connections import Session, StoreFile, pragma
from posthorse.store.sqlite.faults import code_of, explained, unreadable
from posthorse.store.sqlite.migrator import SqliteMigrator
from posthorse.store.sqlite.statements import DIALECT, Statements
from posthorse.store.sqlite.transactions import Transactions
from posthorse.store.sqlite.turnstile import Turnstile
from posthorse.store.sqlite.watch import SqliteNotifier

T = TypeVar("T")

OLDEST = (3, 35, 0)
"""RETURNING came with 3.35."""

LOOK_STEPS = 100_000
"""Steps of SQLite's machine between two looks at the clock: some milliseconds, because each look needs the interpreter
lock, for which a busy program may make it wait as long.
"""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


class SqliteBackend:
    """Connections to one file: one that writes, one that reads, some for looks, one for each slice transaction."""

    dialect = DIALECT
    capabilities = Capabilities(
        has_rivals=False,
        keeps_consumed_entries=False,
        notifies_idle_runners=False,
        creates_schema=True,
        may_be_away=False,
        is_file=True,
    )

    def __init__(self, path: Path, clock: Clock, tuning: Tuning) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise StoreError(
                f"SQLite {sqlite3.sqlite_version} is too old: Posthorse needs 3.35 or newer; use a newer Python"
            )
        self.path = path
        self.notifier = SqliteNotifier(self)
        self.while_away: Callable[[Exception], None] = lambda error: None
        """Never called: a file is never away."""
        self._statements = Statements(clock)
        self.file = StoreFile(path, self._statements.execute_on, tuning)
        self._transactions = Transactions(self.file)
        self._turnstile = Turnstile(path, tuning)
        self._writer_lock = threading.Lock()
        self._writer: Session | None = None
        self._reader = _Reader()
        self._lookers = [_Reader() for _ in range(tuning.sqlite_looks)]
        self._looks = Places(self._lookers)
        forks.mind(self)

    @property
    def busy_seconds(self) -> float:
        """How long a writer waits for other writers, in seconds."""
        return self.file.busy_seconds

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """Commit all operations in one transaction, each in a savepoint unless it is alone."""
        with self._writer_lock:
            session = self._writer = self._writer or self.file.open()
            turnstile = self._turnstile
            try:
                try:
                    turnstile.enter(self.file.busy_seconds)
                    if len(operations) == 1:
                        answers = [self._run_alone(session, operations[0])]
                    else:
                        session.begin()
                        answers = [self._run_in_savepoint(session, operation) for operation in operations]
                        session.commit()
                finally:
                    turnstile.leave()
                for operation in operations:
                    if not operation.creates_no_work:
                        turnstile.ring()
                        break
            except BaseException as error:
                self._writer = None
                session.give_up()
                self._turnstile.close()
                self._drop_lost()
                if isinstance(error, sqlite3.Error):
                    raise explained(error, self.path, is_in_doubt=session.is_in_doubt) from error
                raise
            return answers

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, beside the writer."""
        with self._reader.lock:
            session = self._opened(self._reader)
            return self._read_on(self._reader, session, operation, session.execute)

    def try_read(self, operation: Operation[T]) -> T:
        """Do the same: a file is never away."""
        return self.read(operation)

    def look(self, operation: Operation[T], time: TimeAllowed) -> T:
        """Run an operation that reads many rows, on a connection for such reads. Raises TookTooLong."""
        with self._looks.taken(time) as reader, reader.lock:
            session = self._opened(reader)
            session.connection.set_progress_handler(time.is_over, LOOK_STEPS)
            try:
                return self._read_on(reader, session, operation, time.within(session.execute))
            except StoreError as error:
                if _is_interrupted(error.__cause__):
                    raise time.exceeded() from error
                raise
            finally:
                session.connection.set_progress_handler(None, 0)

    def connect(self) -> sqlite3.Connection:
        """Open a connection with our settings; the caller begins and ends transactions."""
        return self.file.open().connection

    def transaction(self, longest: float) -> AbstractContextManager[tuple[sqlite3.Connection, Execute]]:
        """Begin a write transaction on a connection of its own, of `longest` seconds at most."""
        return self._transactions.begin(longest)

    def atransaction(self, longest: float) -> AbstractAsyncContextManager[tuple[AsyncSqliteConnection, AsyncExecute]]:
        """Begin a write transaction, for a coroutine."""
        return self._transactions.abegin(longest)

    def execute_on(self, connection: sqlite3.Connection) -> Execute:
        """Make a function that runs queries on a connection, for `drive`."""
        return self._statements.execute_on(connection)

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        return self._statements.values_of(query, wanted)

    def ring(self) -> None:
        """Wake the processes that wait for work. Commits do so by themselves, transactions do not."""
        self._turnstile.ring()

    @contextmanager
    def migrating(self, tell: Tell) -> Iterator[Migrator]:
        """Yield what migrates the file."""
        yield SqliteMigrator(self.file, self._transactions, self._statements, tell)

    def exists(self) -> bool:
        """Return False if no file was ever made here. Raises StoreUnreachable for one that is lost."""
        if is_there(self.path):
            return True
        side_files.raise_if_lost(self.path)
        return False

    def prepare(self) -> str | None:
        """Make the folder of the file; return the path of a file that is new. Raises StoreUnreachable."""
        is_new = not is_there(self.path)
        make_folder(self.path)
        return str(self.path) if is_new else None

    def wait_at_most(self, seconds: float) -> None:
        """Set for how long a write waits for the lock."""
        self.file.busy_seconds = seconds

    def remember(self) -> None:
        """Note beside the file that there is a store, so that no process makes another in its place."""
        side_files.remember(self.path)

    def compact(self) -> int:
        """Rewrite the file without its free pages; return how many bytes it lost. Raises StoreError."""
        before = _size(self.path) or 0
        with self._writer_lock:
            session = self.file.open()
            try:
                self._turnstile.enter(self.file.busy_seconds)
                session.connection.execute("VACUUM")
                session.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise explained(error, self.path) from error
            finally:
                self._turnstile.leave()
                session.close()
        return before - (_size(self.path) or 0)

    def health(self) -> Mapping[str, str | int | float | None]:
        """Return facts about the file; `integrity` is "ok" or the first defect."""
        return {**self.facts(), "integrity": self.integrity()}

    def integrity(self) -> str:
        """Check the whole file, on a connection of its own; return "ok" or the first defect."""
        session = self.file.open()
        try:
            return str(pragma(session.connection, "quick_check(1)"))
        except sqlite3.DatabaseError as error:  # too damaged even to be checked
            return str(error)
        finally:
            session.close()

    def facts(self) -> Mapping[str, str | int | float | None]:
        """Return facts about the file and its settings that cost next to nothing."""
        with self._reader.lock:
            connection = self._opened(self._reader).connection
            try:
                return {
                    "library": sqlite3.sqlite_version,
                    "other_libraries": ", ".join(name for name in OTHER_SQLITES if name in sys.modules) or None,
                    "journal_mode": pragma(connection, "journal_mode"),
                    "synchronous": _SYNCHRONOUS[int(pragma(connection, "synchronous"))],
                    "file_bytes": _size(self.path),
                    "log_bytes": _size(side_files.log_of(self.path)),
                    "exposed": ", ".join(side_files.exposed(self.path)) or None,
                }
            except sqlite3.Error as error:
                raise unreadable(error, self.path) from error

    def close(self) -> None:
        """Close all idle connections."""
        with ExitStack() as held:
            for lock in self.locks():
                held.enter_context(lock)
            self.let_go()
            self.file.forget()

    def locks(self) -> tuple[threading.Lock, ...]:
        """Return the locks that must be held to close."""
        return (self._writer_lock, *(reader.lock for reader in self._readers))

    def let_go(self) -> None:
        """Close the idle connections; the next use opens others."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for reader in self._readers:
            reader.close()
        self._turnstile.close()
        self._transactions.let_go()

    def _drop_lost(self) -> None:
        """Close idle connections whose log other processes do not find, because it would disturb theirs."""
        self._transactions.drop_lost()
        if self._writer_lock.acquire(blocking=False):
            self._writer = _unless_lost(self._writer)
            self._writer_lock.release()
        for reader in self._readers:
            if reader.lock.acquire(blocking=False):
                reader.session = _unless_lost(reader.session)
                reader.lock.release()

    @property
    def _readers(self) -> Sequence[_Reader]:
        return (self._reader, *self._lookers)

    def _opened(self, reader: _Reader) -> Session:
        if reader.session is None:
            reader.session = self.file.open()
        return reader.session

    def _read_on(self, reader: _Reader, session: Session, operation: Operation[T], execute: Execute) -> T:
        try:
            answer = drive(operation, execute)
            session.raise_if_moved()
        except sqlite3.Error as error:
            raise unreadable(error, self.path) from error
        except TookTooLong:
            raise
        except StoreError:
            reader.close()
            self._drop_lost()
            raise
        return answer

    def _run_alone(self, session: Session, operation: Operation[object]) -> Answer:
        shortcut = operation.shortcut
        if shortcut is not None and session.write(*self._statements.first_of(shortcut.query)):
            return shortcut.answer, None
        session.begin()
        try:
            answer = drive(operation, session.execute)
        except Exception as error:
            if session.connection.in_transaction:  # some errors end it by themselves
                session.run("ROLLBACK")
            return None, explained(error, self.path)
        session.commit()
        return answer, None

    def _run_in_savepoint(self, session: Session, operation: Operation[object]) -> Answer:
        session.run("SAVEPOINT operation")
        try:
            answer = drive(operation, session.execute)
        except Exception as error:
            if not session.connection.in_transaction:
                raise  # a full or failing disk rolls back the whole transaction
            session.run("ROLLBACK TO operation")
            session.run("RELEASE operation")
            return None, explained(error, self.path)
        session.run("RELEASE operation")
        return answer, None


class _Reader:
    """A connection that reads, for one user at a time; None until the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Session | None = None

    def close(self) -> None:
        """Close it; the next use opens another."""
        if self.session is not None:
            self.session.close()
        self.session = None


def _is_interrupted(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_INTERRUPT


def _unless_lost(session: Session | None) -> Session | None:
    if session is None or not session.has_lost_log:
        return session
    session.close()
    return None


def _size(path: Path | str) -> int | None:
    # Only looked up: opening and closing the file outside SQLite would drop this process's locks on it.
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None
