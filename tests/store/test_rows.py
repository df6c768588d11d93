"""Statements return the rows that they declare, on every store. `conftest` checks what each test of the store reads."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import psycopg
import pytest

from posthorse.store.base import TypedQuery
from posthorse.store.operations import read
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.queries import Query
from posthorse.store.sqlite.backend import SqliteBackend
from tests.declared_rows import check, declared_queries, names_of, types_of
from tests.store.test_queries import queries
from tests.store.yard import HOME, Yard

EFFECTS = {"admit", "hold_queue", "hold_topic", "line_up_waiting", "release_held", "wake"}
"""Statements that are run for their effect: notify, lock, make pending. Their rows say nothing."""

PIECES = {"statuses"}
"""Blocks that only other statements contain."""

OIDS = {16: int, 20: int, 21: int, 23: int, 25: str, 2278: str, 2950: str}
"""Python types of these PostgreSQL types; a bool is an int."""


class Pair(NamedTuple):
    """Two columns."""

    job: str
    epoch: int


@pytest.mark.all_postgres
def test_every_statement_has_the_columns_that_it_declares(yard: Yard) -> None:
    yard.store.lanes({HOME})
    for name, declared in declared_queries().items():
        compiled = queries(yard)[name]
        if compiled.picks or compiled.tells_now:  # made by our own code; checked where it is run
            continue
        columns = columns_of(yard, compiled)
        expected = types_of(declared)
        assert len(columns) == len(expected), name
        if (names := names_of(declared)) is not None:
            assert tuple(column for column, _ in columns) == names, name
        for (column, kind), types in zip(columns, expected, strict=True):
            assert kind is None or kind in types, f"{column or name} of {name} is a {kind.__name__}"


@pytest.mark.all_postgres
def test_every_statement_that_returns_rows_declares_them(yard: Yard) -> None:
    yard.store.lanes({HOME})
    undeclared = {*queries(yard).names()} - declared_queries().keys() - EFFECTS - PIECES
    for name in undeclared:
        found = queries(yard)[name]
        assert "savepoint" in name or not (found.picks or columns_of(yard, found)), f"{name} returns rows"


def columns_of(yard: Yard, query: Query) -> list[tuple[str, type | None]]:
    """Return the names of the columns, and their types where the database knows them."""
    backend = yard.store.backend
    if isinstance(backend, SqliteBackend):
        return [(name, None) for name in on_sqlite(backend.connect(), query)]
    assert isinstance(backend, PostgresBackend)
    with psycopg.connect(yard.store.url) as connection:
        connection.pgconn.prepare(b"asked", query.statements[-1].encoded)
        told = connection.pgconn.describe_prepared(b"asked")
        return [((told.fname(n) or b"").decode(), OIDS[told.ftype(n)]) for n in range(told.nfields)]


def on_sqlite(connection: sqlite3.Connection, query: Query) -> list[str]:
    statement = query.statements[-1]
    rows: Any = "{}" if query.has_pairs else "[]"
    connection.execute("BEGIN")
    cursor = connection.execute(statement.sql, [rows if name == "rows" else 1 for name in statement.names])
    names = [column[0] for column in cursor.description or ()]
    connection.close()
    return names


def test_a_row_that_is_not_as_declared_is_noticed() -> None:
    check(TypedQuery("pair", Pair), [Pair("a", 1)])
    check(TypedQuery("flag", tuple[int, str | None]), [(True, None)])
    with pytest.raises(AssertionError, match="column 1 of pair is a NoneType"):
        check(TypedQuery("pair", tuple[str, int]), [("a", 1), ("b", None)])
    with pytest.raises(AssertionError, match="pair returned 1 columns, and declares 2"):
        check(TypedQuery("pair", tuple[str, int]), [("a",)])
    with pytest.raises(AssertionError, match="pair is made of tuple"):
        check(TypedQuery("pair", Pair), [("a", 1)])


def test_the_tests_of_the_store_check_what_they_read(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.enqueue(1)
    monkeypatch.setattr(read, "DEPTHS", TypedQuery("depths", tuple[str, str, int, int, str]))
    with pytest.raises(AssertionError, match="column 4 of depths is a int"):
        yard.store.read(read.depths())
