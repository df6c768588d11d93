"""The adapter for `sqlite3.Connection`, with helpers for libraries that use SQLite below."""

from __future__ import annotations

import sqlite3
from typing import ClassVar, Literal, Protocol, cast

from posthorse.errors import InvalidOption
from posthorse.store.base import Rows
from posthorse.store.user_connections.base import (
    ConnectionAdapter,
    Parameters,
    Style,
    closed,
    ended_early,
    outside,
)

TAKE_THE_LOCK = "UPDATE posthorse_meta SET value = value WHERE false"
"""Changes nothing, but takes the write lock for the open transaction."""
MARK = "SAVEPOINT posthorse_slice"
"""Lasts as long as the transaction: if it is missing at the end, other code committed or rolled back."""
UNMARK = "RELEASE posthorse_slice"


class Transactional(Protocol):
    """The part of `sqlite3.Connection` and `aiosqlite.Connection` that describes their transaction."""

    @property
    def in_transaction(self) -> bool: ...
    @property
    def isolation_level(self) -> str | None: ...


class SqliteAdapter(ConnectionAdapter):
    """Run on a connection of the standard library's module."""

    dialect: Literal["sqlite", "postgres"] = "sqlite"
    style = Style.MARKED
    libraries: ClassVar[frozenset[str]] = frozenset({"sqlite3"})

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_ours = False

    @property
    def driver(self) -> sqlite3.Connection:
        return self._connection

    def raise_unless_usable(self) -> None:
        try:
            self._connection.cursor().close()
        except sqlite3.ProgrammingError as error:
            if "closed" in str(error):
                raise closed() from error
            raise InvalidOption(
                f"connection cannot be used here ({error}); use it in the thread that opened it, or open it with "
                "check_same_thread=False"
            ) from error

    def is_in_transaction(self) -> bool:
        return self._connection.in_transaction

    def raise_unless_in_transaction(self) -> None:
        raise_unless_transactional(self._connection)

    def raise_if_in_transaction(self) -> None:
        raise_if_always_in_transaction(self._connection)
        super().raise_if_in_transaction()

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        if self._is_ours and not self._connection.in_transaction:
            raise ended_early()
        cursor = self._connection.cursor()
        cursor.row_factory = None
        try:
            return cast("Rows", cursor.execute(sql, parameters).fetchall())
        finally:
            cursor.close()

    async def join(self) -> None:
        # Before our first read: a transaction that has read must not wait for the lock any more, and fails at once.
        self._connection.execute(TAKE_THE_LOCK if self._connection.in_transaction else "BEGIN IMMEDIATE")

    async def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(MARK)
        self._is_ours = True

    async def commit(self) -> None:
        release(self._connection)
        self._connection.execute("COMMIT")

    async def rollback(self, error: BaseException) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def is_lost(self, error: BaseException) -> bool:
        return False


def raise_unless_transactional(connection: Transactional) -> None:
    """Raise InvalidOption for a connection that commits by itself and has no open transaction."""
    commits_by_itself = connection.isolation_level is None or getattr(connection, "autocommit", None) is True
    if commits_by_itself and not connection.in_transaction:
        raise outside(how='execute "BEGIN IMMEDIATE" first, or open it with the default isolation_level')


def raise_if_always_in_transaction(connection: object) -> None:
    """Raise InvalidOption for the mode of Python 3.12 in which a transaction is always open."""
    if getattr(connection, "autocommit", None) is False:
        raise InvalidOption(
            "connection was opened with autocommit=False, so a transaction is always open, perhaps with "
            "writes of yours; open the connection of a slice with autocommit=True or the default"
        )


def release(connection: sqlite3.Connection) -> None:
    """Remove the mark. Raises StoreError if its transaction is over."""
    try:
        connection.execute(UNMARK)
    except sqlite3.OperationalError as error:
        raise ended_early() if "no such savepoint" in str(error) else error from error
