"""Our statements on PostgreSQL: the values that the store supplies, and how a connection runs them.

This module knows no transaction, and not whose connection it is.
"""

from __future__ import annotations

from typing import Any, cast

import psycopg
from msgspec.structs import replace

from posthorse.clock import Clock
from posthorse.errors import InvalidSettings
from posthorse.store.base import AsyncExecute, BoundQuery, Execute, Rows
from posthorse.store.postgres.connections import AsyncConnection, Connection, channel_of
from posthorse.store.queries import LIGHT, Dialect, Queries, Query, Value, rows_as_arrays

_NOW = "((extract(epoch FROM statement_timestamp()) * 1000000)::bigint + :shift::bigint)"

# The length is known without reading the long value.
_LIGHT_ARGUMENTS = f"CASE WHEN octet_length(arguments) <= {LIGHT} THEN arguments END"


NO_BOOT = ""
"""Unused: the server's clock judges leases, so the boot of a runner's machine does not matter."""


def looking_again(execute: Execute) -> Execute:
    """Make the same function for rows that may have been committed before: it leaves existing jobs alone."""
    return lambda wanted: execute(replace(wanted, values={**wanted.values, "again": True}))


def dialect(schema: str) -> Dialect:
    """Return the dialect of PostgreSQL with our tables in `schema`."""
    if not 0 < len(schema.encode()) <= 63 or "\0" in schema or schema.startswith("pg_"):
        raise InvalidSettings(
            f"schema is {schema!r:.80}; PostgreSQL takes 1 to 63 bytes, and keeps names that begin with pg_ for itself"
        )
    quoted = '"' + schema.replace('"', '""') + '"'
    return Dialect(
        name="postgres",
        table=lambda name: f"{quoted}.{name}",
        placeholder=lambda number: f"${number}",
        expressions={"now": _NOW, "lease_now": _NOW, "light_arguments": _LIGHT_ARGUMENTS},
    )


class Statements:
    """The statements of one schema."""

    def __init__(self, schema: str, clock: Clock) -> None:
        self.dialect = dialect(schema)
        self.queries = Queries(self.dialect)
        self.channel = channel_of(schema)
        self._clock = clock
        self._supplied: dict[str, Value] = {
            "again": False,
            "boot": NO_BOOT,
            "channel": self.channel,
            "sequence": self.dialect.table("seq"),
            "meta": self.dialect.table("meta"),
        }

    def execute_on(self, connection: Connection) -> Execute:
        """Make a function that runs queries on a connection, for `drive`. Making one costs a good part of a query."""
        cursor = psycopg.RawCursor(connection)

        def execute(wanted: BoundQuery) -> Rows:
            nonlocal cursor
            query = self.queries[wanted.query]
            values = self.values_of(query, wanted)
            for statement in query.statements:
                cursor.execute(statement.encoded, statement.parameters(values), prepare=True)
            rows = cast("Rows", cursor.fetchall()) if _has_rows(cursor) else []
            if len(rows) > 1 or wanted.rows is not None:
                cursor = psycopg.RawCursor(connection)  # a kept cursor would hold all rows until its next use
            return rows

        return execute

    def aexecute_on(self, connection: AsyncConnection) -> AsyncExecute:
        """Make the same function for a coroutine, for `adrive`."""
        cursor = psycopg.AsyncRawCursor(connection)

        async def execute(wanted: BoundQuery) -> Rows:
            query = self.queries[wanted.query]
            values = self.values_of(query, wanted)
            for statement in query.statements:
                await cursor.execute(statement.encoded, statement.parameters(values), prepare=True)
            return cast("Rows", await cursor.fetchall()) if _has_rows(cursor) else []

        return execute

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        values = {**self._supplied, "shift": self._clock.shift, **wanted.values}
        if wanted.rows is not None:
            values.update(rows_as_arrays(wanted.rows, query.columns))
        return values

    def script(self, text: str) -> tuple[bytes, ...]:
        """Return the statements of a schema file."""
        return tuple(statement.encode() for statement in self.queries.script(text))


def _has_rows(cursor: psycopg.RawCursor[Any] | psycopg.AsyncRawCursor[Any]) -> bool:
    # Its `description` would be rebuilt each time, with an object for each column.
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0
