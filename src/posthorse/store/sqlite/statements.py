"""Our statements on SQLite: what they are given besides their own values, and how a connection runs them.

Knows no transaction, and not whose connection it is.
"""

from __future__ import annotations

import sqlite3
from typing import cast

import msgspec

from posthorse.clock import Clock
from posthorse.store.base import BoundQuery, Execute, Rows
from posthorse.store.queries import LIGHT, Dialect, Queries, Query, Value, pairs_as_json, rows_as_json
from posthorse.store.sqlite.binding import NUMBERS_ARE_NAMES, by_number

DIALECT = Dialect(
    name="sqlite",
    table=lambda name: f"posthorse_{name}",
    placeholder=lambda number: f"?{number}",
    expressions={"light_arguments": f"CASE WHEN length(arguments) <= {LIGHT} THEN arguments END"},
)

_decode_rows = msgspec.json.Decoder(list[tuple[str | int | float | None, ...]]).decode
_queries = Queries(DIALECT)


class Statements:
    """The statements, and the clock that they go by."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def execute_on(self, connection: sqlite3.Connection) -> Execute:
        """A function that runs queries on a connection, for `drive`."""

        def execute(wanted: BoundQuery) -> Rows:
            return self._execute(connection, wanted)

        return execute

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """The values that a query takes, with those that the store supplies."""
        clock = self._clock
        values: dict[str, Value] = {
            "now": clock.now(),
            "lease_now": clock.boot_now(),
            "boot": clock.boot,
            **wanted.values,
        }
        if wanted.rows is not None:
            values["rows"] = (pairs_as_json if query.has_pairs else rows_as_json)(wanted.rows)
        return values

    def script(self, text: str) -> tuple[str, ...]:
        """The statements of a schema or migration file."""
        return tuple(_queries.script(text))

    def _execute(self, connection: sqlite3.Connection, wanted: BoundQuery) -> Rows:
        query = _queries[wanted.query]
        values = self.values_of(query, wanted)
        answer: Rows = []
        for statement in query.statements:
            parameters = statement.parameters(values)
            cursor = connection.execute(statement.sql, by_number(parameters) if NUMBERS_ARE_NAMES else parameters)
            if query.picks and "picked" not in values:
                picked = cast("str", cursor.fetchone()[0])
                if picked == "[]":
                    return []
                values["picked"] = picked
            elif not query.picks:
                answer = cursor.fetchall()
        return cast("Rows", _decode_rows(cast("str", values["picked"]))) if query.picks else answer
