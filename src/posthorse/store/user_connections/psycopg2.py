"""The adapter for psycopg2, which Django and SQLAlchemy may use below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol

from posthorse.store.base import Rows
from posthorse.store.user_connections.base import (
    ConnectionAdapter,
    Parameters,
    Style,
    closed,
    ended_early,
    failed,
    outside,
)

_IDLE, _FAILED = 0, 3


class Cursor(Protocol):
    """The part of a DB-API cursor that is used here."""

    description: object

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object], /) -> object: ...
    def fetchall(self) -> Rows: ...
    def close(self) -> None: ...


class Connection(Protocol):
    """The part of `psycopg2.extensions.connection` that is used here."""

    autocommit: bool

    @property
    def closed(self) -> int: ...
    def get_transaction_status(self) -> int: ...
    def cursor(self, name: None, factory: object) -> Cursor: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...


class Psycopg2Adapter(ConnectionAdapter):
    """Run on a connection of psycopg2."""

    dialect: Literal["sqlite", "postgres"] = "postgres"
    style = Style.NAMED
    libraries: ClassVar[frozenset[str]] = frozenset({"psycopg2"})

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def driver(self) -> Connection:
        return self._connection

    def raise_unless_usable(self) -> None:
        if self._connection.closed:
            raise closed()
        if self._connection.get_transaction_status() == _FAILED:
            raise failed()

    def is_in_transaction(self) -> bool:
        return self._connection.get_transaction_status() != _IDLE

    def raise_unless_in_transaction(self) -> None:
        if self._connection.autocommit and not self.is_in_transaction():
            raise outside(how="set autocommit to False")

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        from psycopg2.extensions import cursor as plain_cursor

        cursor = self._connection.cursor(None, plain_cursor)
        try:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []
        finally:
            cursor.close()

    async def begin(self) -> None:
        if self._connection.autocommit:
            raise outside(how="set autocommit to False")

    async def commit(self) -> None:
        if not self.is_in_transaction():
            raise ended_early()
        self._connection.commit()

    async def rollback(self, error: BaseException) -> None:
        self._connection.rollback()

    def is_lost(self, error: BaseException) -> bool:
        return bool(self._connection.closed)
