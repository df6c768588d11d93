"""Connections to the file of a store: with our settings, and aware of which file they opened."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote_from_bytes

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Execute
from posthorse.store.queries import Value
from posthorse.store.sqlite import forks, side_files
from posthorse.store.sqlite.faults import (
    FileIdentity,
    cannot_open,
    code_of,
    file_identity,
    log_moved,
    many_names,
    moved,
)
from posthorse.store.sqlite.turnstile import locked

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn, in seconds."""

_lost_logs: set[tuple[str, FileIdentity | None]] = set()
"""Files that lost their logs while they were open. In one process SQLite would use the index of the old log for the new
one, and damage the file, so this process does not open them again.
"""


class Session:
    """A connection, and the transactions on it. It knows which file it opened, because the name may come to mean
    another.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        execute: Execute,
        *,
        patience: float,
        log_check_interval: float,
    ) -> None:
        """Take over a connection; `execute` runs our queries on it."""
        self.connection = connection
        self.execute = execute
        self.path = path
        self.is_in_doubt = False
        """True from a COMMIT until it is known to have happened."""
        self._name = str(path)
        self._file = file_identity(self._name)
        self._log_name, self._index_name = side_files.log_of(path), side_files.index_of(path)
        self._look_at_log = 0.0
        self._log_check_interval = log_check_interval
        self._log: FileIdentity | None = None
        self._index: FileIdentity | None = None
        self._patience = patience
        self.run = connection.cursor().execute
        """Runs one of its own statements. A new cursor for each would cost a good part of it."""

    def note_log(self) -> None:
        """Note which log is the right one, as soon as there is one; that holds while this connection is open."""
        self._log, self._index = file_identity(self._log_name), file_identity(self._index_name)

    def begin(self) -> None:
        """Begin a write transaction. Raises StoreUnreachable if another one takes too long."""
        self._run_in_turn("BEGIN IMMEDIATE")

    def write(self, sql: str, parameters: Sequence[Value]) -> bool:
        """Run and commit one statement; return False if it changed nothing. Raises as `begin` and `commit` do."""
        self.raise_if_moved()
        self.is_in_doubt = True
        is_changed = self._run_in_turn(sql, parameters).rowcount > 0
        self.raise_if_moved(is_committed=True)
        self.is_in_doubt = False
        return is_changed

    def commit(self) -> None:
        """Commit, unless other processes open another file under the same name.

        Raises StoreUnreachable, or OutcomeUnknown if the file changed during the commit.
        """
        self.raise_if_moved()
        self.is_in_doubt = True
        self.run("COMMIT")
        self.raise_if_moved(is_committed=True)
        self.is_in_doubt = False

    def _run_in_turn(self, sql: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
        try:
            return self.run(sql, parameters)
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY:
                raise
            raise locked(self.path, self._patience) from error

    def is_moved(self) -> bool:
        """Return True if the name now leads to another file, or to none."""
        try:
            found = os.stat(self._name)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def raise_if_moved(self, *, is_committed: bool = False) -> None:
        """Check after a read, and around a commit. Raises StoreUnreachable, or OutcomeUnknown."""
        # SQLite would go on in a file that no process finds again; and a sync is long enough to lose it meanwhile.
        if self.is_moved():
            raise moved(self.path, is_committed=is_committed)
        # Rarely checked: what was written to a removed log is moved into the file when that is noticed.
        if not is_committed and (now := monotonic()) >= self._look_at_log:
            if self._log_is_another():
                _lost_logs.add((self._log_name, self._file))
                raise log_moved(self.path)
            self._look_at_log = now + self._log_check_interval

    @property
    def has_lost_log(self) -> bool:
        """Whether the file is the right one, but other processes open another log or another index."""
        return not self.is_moved() and self._log_is_another()

    def _log_is_another(self) -> bool:
        return file_identity(self._log_name) != self._log or file_identity(self._index_name) != self._index

    def give_up(self) -> None:
        """Roll back and drop the connection, because its state is unknown after an error."""
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self.close()

    def cut_off(self) -> None:
        """End whatever it does, from another thread."""
        # Close instead of rolling back: the next statement must fail, not commit by itself.
        self.connection.interrupt()
        self.connection.close()

    def close(self) -> None:
        """Close it while idle."""
        with suppress(sqlite3.Error):
            if self._log is not None and not self.is_moved() and file_identity(self._log_name) is None:
                # Commits are in a log that no process finds again, unless they are moved into the file now.
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.connection.close()


class OwnConnection(sqlite3.Connection):
    """Closes when it is garbage-collected: Python need not warn of an application that is never closed."""

    def __del__(self) -> None:
        with suppress(sqlite3.Error):  # it was never opened
            self.close()


class StoreFile:
    """The file of a store, and how it is opened."""

    def __init__(self, path: Path, execute_on: Callable[[sqlite3.Connection], Execute], tuning: Tuning) -> None:
        self.path = path
        self.tuning = tuning
        self._execute_on = execute_on
        self.busy_seconds = BUSY_SECONDS
        """How long a writer waits for others, in seconds."""
        self._was_opened = False
        """Whether it was opened once: from then on no process makes another in its place."""

    def open(self) -> Session:
        """Open a connection with our settings; the caller begins and ends transactions.

        Checkpoints are SQLite's own: they happen inside our commits, so never beside another one. Raises
        StoreUnreachable, SchemaMismatch, StoreError.
        """
        if forks.was_open_before(self.path):
            raise StoreError(
                f"this process was forked while a connection to {self.path} was open, and SQLite loses commits of such "
                "processes; fork before the first use or outside of transactions, or start processes with `spawn`"
            )
        if (side_files.log_of(self.path), file_identity(self.path)) in _lost_logs:
            raise log_moved(self.path)
        address = self._address()
        deadline = monotonic() + self.busy_seconds
        connection = None
        try:
            connection = sqlite3.connect(
                address,
                factory=OwnConnection,
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self.busy_seconds,
                cached_statements=256,
            )
            session = Session(
                connection,
                self.path,
                self._execute_on(connection),
                patience=self.busy_seconds,
                log_check_interval=self.tuning.log_check_interval,
            )
            mode = _set_wal(connection, deadline)
            connection.execute(f"PRAGMA synchronous = {self.tuning.sqlite_synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self.tuning.checkpoint_pages}")
            connection.execute(f"PRAGMA journal_size_limit = {self.tuning.max_idle_log}")
            pragma(connection, "schema_version")  # opens the log
            session.note_log()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the message of an error may quote a damaged schema
            if connection is not None:
                connection.close()
            raise cannot_open(error, self.path) from error
        if mode != "wal":
            connection.close()
            raise StoreError(
                f"{self.path} cannot keep a write-ahead log (its journal mode stays {mode!r}); Posthorse needs a local "
                "disk that can share memory between processes"
            )
        self._was_opened = True
        return session

    def forget(self) -> None:
        """Forget that there was a store, after everything is closed; only the files beside it remember."""
        self._was_opened = False

    def _address(self) -> str:
        """Return what SQLite opens: an existing file, or a new one, for its owner alone, if there never was one."""
        real = side_files.real_name(self.path)
        found = _status(real)
        if found is None and self._was_opened:
            raise moved(self.path)
        if found is None or found.st_size == 0:
            side_files.raise_if_lost(self.path)
        elif found.st_nlink > 1 and stat.S_ISREG(found.st_mode) and not self._was_opened:
            raise many_names(self.path, found.st_nlink)
        uri = Path(real).as_uri()
        if found is not None:
            return f"{uri}?mode=rw"  # if it is moved at this moment, SQLite makes no other
        gate = side_files.gate_of(self.path)
        os.close(side_files.open_lock(gate, self.path))
        return f"{uri}?mode=rwc&modeof={quote_from_bytes(os.fsencode(gate))}"


def _status(path: str) -> os.stat_result | None:
    # Only looked up: opening and closing the file outside SQLite would drop this process's locks on it.
    try:
        return os.stat(path)
    except OSError:
        return None


def pragma(connection: sqlite3.Connection, text: str) -> str | int:
    """Return the value of a PRAGMA."""
    found: tuple[str | int] = connection.execute(f"PRAGMA {text}").fetchone()
    return found[0]


def _set_wal(connection: sqlite3.Connection, deadline: float) -> str:
    while True:
        try:
            return str(pragma(connection, "journal_mode = WAL"))
        except sqlite3.OperationalError as error:
            # The very first switch takes a lock that SQLite does not wait for.
            if code_of(error) != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))
