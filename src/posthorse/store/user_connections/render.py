"""Render our queries in the parameter style of the user's driver. This module runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Protocol, cast
from uuid import UUID

import msgspec

from posthorse.store.base import BoundQuery, Rows
from posthorse.store.queries import Dialect, Queries, Query, Row, Statement, Value
from posthorse.store.user_connections.base import Parameters, Style

_PLACEHOLDERS: Mapping[Style, Callable[[int], str]] = {
    Style.MARKED: lambda _: "?",
    Style.DOLLAR: lambda number: f"${number}",
    Style.NAMED: lambda number: f"%(p{number})s",
    Style.PLAIN: lambda _: "%s",
}
_decode_rows = msgspec.json.Decoder(list[tuple[str | int | float | None, ...]]).decode


class SuppliesValues(Protocol):
    """The part of a backend that is used here."""

    @property
    def dialect(self) -> Dialect: ...
    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        ...


class Renderer:
    """Render the queries of a backend in one style."""

    def __init__(self, backend: SuppliesValues, style: Style) -> None:
        dialect = backend.dialect
        self._backend = backend
        self._style = style
        table = dialect.table
        if style is Style.NAMED:
            table = partial(_with_doubled_percents, dialect.table)
        repeats = style in (Style.MARKED, Style.PLAIN)
        self._queries = Queries(
            msgspec.structs.replace(dialect, placeholder=_PLACEHOLDERS[style], repeats=repeats, table=table)
        )

    def steps(self, wanted: BoundQuery) -> Generator[tuple[str, Parameters], Rows, Rows]:
        """Yield the statements of a query with their parameters, receive their rows, return those of the query."""
        query = self._queries[wanted.query]
        values: dict[str, object] = {**self._backend.values_of(query, wanted)}
        if self._style is Style.DOLLAR and wanted.rows is not None:
            # asyncpg takes an array only as a list, whatever it is cast from.
            columns = zip(*wanted.rows, strict=True) if wanted.rows else ((),) * len(query.columns)
            values |= {f"rows_{name}": [*column] for (name, _), column in zip(query.columns, columns, strict=True)}
        if query.is_row_by_row:
            for row in wanted.rows or ():
                for statement in query.statements:
                    yield self._rendered(statement, (*row, values["now"]))
            return []
        answer: Rows = []
        for statement in query.statements:
            rows = yield self._rendered(statement, values)
            if query.picks and "picked" not in values:
                picked = cast("str", rows[0][0])
                if picked == "[]":
                    return []
                values["picked"] = picked
            elif not query.picks:
                answer = [_as_stored(row) for row in rows]
        if query.tells_now:
            return [(cast("int", values["now"]), 0)]
        return cast("Rows", _decode_rows(cast("str", values["picked"]))) if query.picks else answer

    def _rendered(self, statement: Statement, values: object) -> tuple[str, Parameters]:
        given = statement.parameters(values)
        if self._style is Style.NAMED:
            return statement.sql, cast("Mapping[str, Value]", {f"p{n}": value for n, value in enumerate(given, 1)})
        return statement.sql, given


def _with_doubled_percents(table: Callable[[str], str], name: str) -> str:
    return table(name).replace("%", "%%")


def _as_stored(row: Row) -> Row:
    """Return a row as our own connections return it: ids are texts."""
    return tuple(str(value) if isinstance(value, UUID) else value for value in cast("tuple[Value | UUID, ...]", row))
