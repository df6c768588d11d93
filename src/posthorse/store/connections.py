"""Types of connections: what a slice transaction yields, and what users may pass in.

`sqlite3.Connection`, `psycopg.Connection` and `psycopg.AsyncConnection` fit these protocols. In an async job on SQLite
the connection is wrapped, so that its statements do not block the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    """The rows of a statement."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    @property
    def rowcount(self) -> int: ...


class Connection(Protocol):
    """A connection inside the transaction of a slice."""

    def execute(self, query: Any, params: Any = ..., /) -> Cursor: ...


class AsyncCursor(Protocol):
    """The rows of a statement, awaited."""

    async def fetchone(self) -> Any: ...
    async def fetchall(self) -> list[Any]: ...
    @property
    def rowcount(self) -> int: ...


class AsyncConnection(Protocol):
    """A connection inside the transaction of a slice of an async job."""

    async def execute(self, query: Any, params: Any = ..., /) -> AsyncCursor: ...


class _Executes(Protocol):
    @property
    def execute(self) -> Callable[..., Any]: ...


class _HasCursor(Protocol):
    @property
    def cursor(self) -> Callable[..., Any]: ...


class _Proxy(Protocol):
    def __getattr__(self, name: str, /) -> Any: ...


UserConnection = _Executes | _HasCursor | _Proxy
"""A connection or session of the user's: sqlite3, psycopg, asyncpg, SQLAlchemy, Django."""


class AsyncSqliteCursor:
    """The rows of a statement on SQLite, already fetched."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """Rows written by the statement."""
        return self._cursor.rowcount

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        return await asyncio.to_thread(self._cursor.fetchone)

    async def fetchall(self) -> list[Any]:
        """Return all remaining rows."""
        return await asyncio.to_thread(self._cursor.fetchall)


class AsyncSqliteConnection:
    """A sqlite3 connection whose statements run in a thread beside the loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def execute(self, query: str, params: Sequence[Any] = (), /) -> AsyncSqliteCursor:
        """Run one statement."""
        return AsyncSqliteCursor(await asyncio.to_thread(self.connection.execute, query, params))

    async def executemany(self, query: str, params: Sequence[Sequence[Any]], /) -> AsyncSqliteCursor:
        """Run one statement for each set of parameters."""
        return AsyncSqliteCursor(await asyncio.to_thread(self.connection.executemany, query, params))
