"""Our statements on SQLite: the values that the store supplies, and how a connection runs them.

This module knows no transaction, and not whose connection it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import msgspec

from posthorse.clock import Clock
from posthorse.store.base import BoundQuery, Execute, Rows
from posthorse.store.queries import LIGHT, Dialect, MigrationStep, Queries, Query, Value, pairs_as_json, rows_as_json

DIALECT = Dialect(
    name="sqlite",
    table=lambda name: f"posthorse_{name}",
    placeholder=lambda _: "?",  # Python 3.12.0 to 3.12.3 warn of numbered ones
    repeats=True,
    expressions={"light_arguments": f"CASE WHEN length(arguments) <= {LIGHT} THEN arguments END"},
)

_decode_rows = msgspec.json.Decoder(list[tuple[str | int | float | None, ...]]).decode
_queries = Queries(DIALECT)


class Statements:
    """The statements, and the clock that they use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def execute_on(self, connection: sqlite3.Connection) -> Execute:
        """Make a function that runs queries on a connection, for `drive`."""
        # One cursor for all: a new one costs a good part of a statement.
        cursor = connection.cursor()
        return partial(self._execute, cursor.execute, cursor.executemany)

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        clock, takes = self._clock, query.takes
        values = {**wanted.values}
        if "now" in takes:
            values["now"] = clock.now()
        if "lease_now" in takes:
            values["lease_now"] = clock.boot_now()
        if "boot" in takes:
            values["boot"] = clock.boot
        if wanted.rows is not None and not query.is_row_by_row:
            values["rows"] = (pairs_as_json if query.has_pairs else rows_as_json)(wanted.rows)
        return values

    def first_of(self, wanted: BoundQuery) -> tuple[str, Sequence[Value]]:
        """Return the first statement of a query, and its parameters."""
        query = _queries[wanted.query]
        statement = query.statements[0]
        return statement.sql, statement.parameters(self.values_of(query, wanted))

    def script(self, text: str) -> tuple[str, ...]:
        """Return the statements of a schema file."""
        return tuple(_queries.script(text))

    def steps(self, text: str) -> tuple[MigrationStep, ...]:
        """Return the steps of a migration file."""
        return _queries.steps(text)

    def _execute(
        self, execute: Callable[..., sqlite3.Cursor], execute_many: Callable[..., sqlite3.Cursor], wanted: BoundQuery
    ) -> Rows:
        query = _queries[wanted.query]
        values = self.values_of(query, wanted)
        if query.is_row_by_row:
            rows = [(*row, values["now"]) for row in wanted.rows or ()]
            for statement in query.statements:
                execute_many(statement.sql, map(statement.parameters, rows))
            return []
        answer: Rows = []
        for statement in query.statements:
            cursor = execute(statement.sql, statement.parameters(values))
            if query.picks and "picked" not in values:
                [(picked,)] = cast("list[tuple[str]]", cursor.fetchall())
                if picked == "[]":
                    return []
                values["picked"] = picked
            elif not (query.picks or query.tells_now):
                answer = cursor.fetchall()
        if query.tells_now:
            return [(values["now"], 0)]
        return cast("Rows", _decode_rows(cast("str", values["picked"]))) if query.picks else answer
