"""Errors for objects that cannot be used as a connection: other SQLite libraries, engines, pools and cursors."""

from __future__ import annotations

from typing import NoReturn

from posthorse.errors import InvalidOption


def refuse_foreign_sqlite(connection: object) -> NoReturn:
    """Raise InvalidOption for a connection of an SQLite library other than Python's own."""
    library = type(connection).__module__.partition(".")[0]
    raise InvalidOption(
        f"connection is of {library}, which brings an SQLite of its own; beside the sqlite3 module of Python, "
        "each would drop the other's locks on the file and lose its commits; use the sqlite3 module in this process"
    )


def refuse_stranger(connection: object) -> NoReturn:
    """Raise InvalidOption for an object that is not a connection of a known library."""
    kind = type(connection)
    hint = _HINTS.get(kind.__name__, "give one of sqlite3, psycopg, asyncpg, SQLAlchemy (a Session too) or Django")
    raise InvalidOption(f"connection is a {kind.__module__}.{kind.__qualname__}, which is not a connection; {hint}")


_HINTS = {
    "Engine": "write `with engine.begin() as connection:` and give that connection",
    "AsyncEngine": "write `async with engine.begin() as connection:` and give that connection",
    "sessionmaker": "call it and give the Session",
    "async_sessionmaker": "call it and give the AsyncSession",
    "Pool": "take a connection from the pool and give that",
    "ConnectionPool": "take a connection from the pool and give that",
    "AsyncConnectionPool": "take a connection from the pool and give that",
    "Cursor": "give its connection",
    "AsyncCursor": "give its connection",
}
