"""Which adapter fits a connection. Classes are detected by name, so that no library needs to be installed."""

from __future__ import annotations

import sqlite3
from typing import cast

from posthorse.store.other_sqlites import OTHER_SQLITES
from posthorse.store.user_connections.base import ConnectionAdapter
from posthorse.store.user_connections.refusals import refuse_foreign_sqlite, refuse_stranger
from posthorse.store.user_connections.sqlite import SqliteAdapter

_SQLALCHEMY = ("Connection", "Session", "AsyncConnection", "AsyncSession", "scoped_session", "async_scoped_session")
_DJANGO = ("BaseDatabaseWrapper", "ConnectionProxy")


def adapter_for(connection: object) -> ConnectionAdapter:
    """Return the adapter for a connection. Raises InvalidOption for anything else."""
    adapter = _adapter_for(connection)
    if adapter is None:
        refuse_stranger(connection)
    return adapter


def _adapter_for(connection: object) -> ConnectionAdapter | None:
    if isinstance(connection, sqlite3.Connection):
        return SqliteAdapter(connection)
    for kind in type(connection).__mro__:
        library, name = kind.__module__.partition(".")[0], kind.__name__
        if library in OTHER_SQLITES:
            refuse_foreign_sqlite(connection)
        if library == "psycopg" and name in ("Connection", "AsyncConnection"):
            from posthorse.store.user_connections import psycopg

            return psycopg.PsycopgAdapter(cast("psycopg.AnyConnection", connection))
        if library == "asyncpg" and name in ("Connection", "PoolConnectionProxy"):
            from posthorse.store.user_connections import asyncpg

            return asyncpg.AsyncpgAdapter(cast("asyncpg.Connection", connection))
        if library == "psycopg2" and name == "connection":
            from posthorse.store.user_connections import psycopg2

            return psycopg2.Psycopg2Adapter(cast("psycopg2.Connection", connection))
        if library == "sqlalchemy" and name in _SQLALCHEMY:
            from posthorse.store.user_connections import sqlalchemy

            return sqlalchemy.SqlalchemyAdapter(cast("sqlalchemy.AnySession", connection))
        if library == "django" and name in _DJANGO:
            from posthorse.store.user_connections import django

            wrapper = django.wrapper_of(connection)
            return django.DjangoAdapter(wrapper, adapter_for(wrapper.connection))
    return None
