"""Connections to the file of a store: with our settings, and aware of which file they opened."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.store.sqlite import forks
from posthorse.store.sqlite.faults import cannot_open, code_of, identity_of, moved
from posthorse.store.sqlite.turnstile import locked

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn."""

CHECKPOINT_AFTER = 4_000
"""Pages of the log, of 4 KiB, after which a commit brings it into the file. With SQLite's own 1,000, those that are
written again and again are copied four times as often, with two syncs each time."""

LARGEST_IDLE_LOG = 64_000_000
"""The log is cut back to this many bytes when it begins anew."""


class Session:
    """A connection, and the transactions on it. Knows which file was opened: the name may come to mean another."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, patience: float) -> None:
        self.connection = connection
        self.path = path
        self.is_in_doubt = False
        """True from a COMMIT on, until it is known to have happened."""
        self._name = str(path)
        self._file = identity_of(self._name)
        self._patience = patience

    def begin(self) -> None:
        """Begins a write transaction. Raises StoreUnreachable when others are in theirs for too long."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY:
                raise
            raise locked(self.path, self._patience) from error

    def commit(self) -> None:
        """Commits, unless the file is not the one that others open under its name.

        Raises StoreUnreachable, OutcomeUnknown when it became another during the commit.
        """
        self.raise_if_moved()
        self.is_in_doubt = True
        self.connection.execute("COMMIT")
        self.raise_if_moved(is_committed=True)
        self.is_in_doubt = False

    @property
    def is_moved(self) -> bool:
        """True when another file lies there now, or none."""
        return identity_of(self._name) != self._file

    def raise_if_moved(self, *, is_committed: bool = False) -> None:
        """To be asked after a read, and around a commit. Raises StoreUnreachable, or OutcomeUnknown."""
        # SQLite would go on in a file that nobody finds again; and a sync takes long enough to lose it meanwhile.
        if self.is_moved:
            raise moved(self.path, is_committed=is_committed)

    def give_up(self) -> None:
        """Rolls back, and throws the connection away: after an error nobody knows its state."""
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self.connection.close()

    def cut_off(self) -> None:
        """Ends whatever it does, from another thread."""
        # Closing, not rolling back: whatever is executed next must fail, not commit by itself.
        self.connection.interrupt()
        self.connection.close()

    def close(self) -> None:
        """Closes it at rest."""
        self.connection.close()


class StoreFile:
    """The file of a store, and how it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.busy_seconds = BUSY_SECONDS
        """How long whoever writes waits for others."""
        self._was_opened = False
        """True once it was: from then on nobody makes another in its place."""

    def open(self) -> Session:
        """A connection with our settings; transactions are begun and ended by hand.

        Checkpoints are SQLite's own: they happen inside a commit of ours, so never beside another.
        Raises StoreUnreachable, SchemaMismatch, StoreError.
        """
        if forks.was_open_before(self.path):
            raise StoreError(
                f"this process was forked while a connection to {self.path} was open, and SQLite loses commits of such "
                "processes; fork before the first use or outside of transactions, or start processes with `spawn`"
            )
        if self._was_opened and identity_of(self.path) is None:
            raise moved(self.path)  # opening it would make a new one
        deadline = monotonic() + self.busy_seconds
        connection = None
        try:
            connection = sqlite3.connect(
                self.path,
                isolation_level=None,
                check_same_thread=False,
                timeout=self.busy_seconds,
                cached_statements=256,
            )
            session = Session(connection, self.path, patience=self.busy_seconds)
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
        self._was_opened = True
        return session

    def forget(self) -> None:
        """After everything is closed: should it be gone, the next connection makes a new one."""
        self._was_opened = False


def pragma(connection: sqlite3.Connection, text: str) -> str | int:
    """The answer to a PRAGMA."""
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
