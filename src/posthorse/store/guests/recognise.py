"""Which guest a connection takes: told by the names of its class and module, so that nothing needs to be installed."""

from __future__ import annotations

import sqlite3
from typing import cast

from posthorse.store.guests.base import Guest
from posthorse.store.guests.foreign import refuse_foreign_sqlite, refuse_stranger
from posthorse.store.guests.sqlite import SqliteGuest
from posthorse.store.other_sqlites import OTHER_SQLITES

_SQLALCHEMY = ("Connection", "Session", "AsyncConnection", "AsyncSession", "scoped_session", "async_scoped_session")
_DJANGO = ("BaseDatabaseWrapper", "ConnectionProxy")


def guest_on(connection: object) -> Guest:
    """The guest on a connection. Raises InvalidOption for what is none."""
    guest = _guest_on(connection)
    if guest is None:
        refuse_stranger(connection)
    return guest


def _guest_on(connection: object) -> Guest | None:
    if isinstance(connection, sqlite3.Connection):
        return SqliteGuest(connection)
    for kind in type(connection).__mro__:
        library, name = kind.__module__.partition(".")[0], kind.__name__
        if library in OTHER_SQLITES:
            refuse_foreign_sqlite(connection)
        if library == "psycopg" and name in ("Connection", "AsyncConnection"):
            from posthorse.store.guests import psycopg

            return psycopg.PsycopgGuest(cast("psycopg.AnyConnection", connection))
        if library == "asyncpg" and name in ("Connection", "PoolConnectionProxy"):
            from posthorse.store.guests import asyncpg

            return asyncpg.AsyncpgGuest(cast("asyncpg.Connection", connection))
        if library == "psycopg2" and name == "connection":
            from posthorse.store.guests import psycopg2

            return psycopg2.Psycopg2Guest(cast("psycopg2.Connection", connection))
        if library == "sqlalchemy" and name in _SQLALCHEMY:
            from posthorse.store.guests import sqlalchemy

            return sqlalchemy.SqlalchemyGuest(cast("sqlalchemy.AnySession", connection))
        if library == "django" and name in _DJANGO:
            from posthorse.store.guests import django

            wrapper = django.wrapper_of(connection)
            return django.DjangoGuest(wrapper, guest_on(wrapper.connection))
    return None
