"""Every named statement, on every store: it compiles, is described, and the database understands it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import psycopg
import pytest

from posthorse import store
from posthorse.rules.search.words import WORDS
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.queries import Queries, blocks_of, rows_as_arrays, shipped_blocks
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.statements import DIALECT
from tests.store.yard import HOME, Yard

STORE = Path(store.__file__).parent

OVERRIDES = {
    "admit", "checkpoint", "claim", "claim_newest", "claim_places", "claim_together",
    "await_jobs", "awaited_among", "count_joins", "enqueue_family", "hold_lease", "line_up_waiting", "lock_family",
    "lock_jobs", "meet_edges", "take_ends",
    "begin_stream_anew", "complete", "enqueue", "enqueue_alike", "enqueue_one", "enter_lanes",
    "filled_lanes", "forget_keys", "forget_readers", "forget_told", "forget_watchers",
    "give_back",
    "has_schema", "heads", "hold", "hold_queue", "jobs_at", "join_sequences", "lock_gates", "lock_job", "lock_keys",
    "move_reader",
    "newest_heads",
    "promote", "record", "record_again", "release_held", "settle", "shares", "gate_states", "store_identity",
    "hold_shelf", "move_stocked", "see_stocks", "take_stock", "tidy_keys", "tidy_shelf",
    "dead_rows", "server_state", "stream_state", "tell_submitted", "tick", "told_between", "unask_runner", "wake",
}  # fmt: skip
"""Statements that each dialect has in its own words. Adding one is a decision: write down why in its file."""


def queries(yard: Yard) -> Queries:
    backend = yard.store.backend
    return backend.queries if isinstance(backend, PostgresBackend) else Queries(DIALECT)


def test_only_these_statements_differ_between_the_dialects(sqlite_yard: Yard, postgres_yard: Yard) -> None:
    on_sqlite, on_postgres = queries(sqlite_yard), queries(postgres_yard)
    assert set(on_sqlite.names()) == set(on_postgres.names())

    def plain(found: Queries, name: str) -> list[str]:
        texts = [re.sub(r'"posthorse"\.|posthorse_|[?$]\d+', "", part.sql) for part in found[name].statements]
        return [
            re.sub(r"\(\(extract.*?::bigint \+ ::bigint\)|\(SELECT json_extract.*?AS r|unnest\(.*?ordinal\)", "", t)
            for t in texts
        ]

    assert set(on_sqlite.names()) >= OVERRIDES
    for name in OVERRIDES:
        assert plain(on_sqlite, name) != plain(on_postgres, name), f"{name} need not be an override"


def test_every_statement_is_described(yard: Yard) -> None:
    for name in queries(yard).names():
        description = queries(yard)[name].description
        assert description.endswith("."), f"{name} ends without a full stop: {description!r}"
        assert description[0].isupper()


@pytest.mark.all_postgres
def test_every_statement_is_understood_by_the_database(yard: Yard) -> None:
    yard.store.lanes({HOME})
    backend = yard.store.backend
    if isinstance(backend, SqliteBackend):
        connection = backend.connect()
        for name in queries(yard).names():
            for statement in queries(yard)[name].statements:
                connection.execute(f"EXPLAIN {statement.sql}", [None] * len(statement.names))
        connection.close()
    else:
        with psycopg.connect(yard.store.url) as postgres:
            for name in queries(yard).names():
                for statement in queries(yard)[name].statements:
                    if "savepoint" in name:  # PREPARE does not accept it; run in order below
                        continue
                    postgres.execute(f"PREPARE {name}_p AS {statement.sql}".encode())
                    postgres.execute(f"DEALLOCATE {name}_p".encode())
            for name in ("set_savepoint", "undo_to_savepoint", "release_savepoint"):
                for statement in queries(yard)[name].statements:
                    postgres.execute(statement.sql.encode())


def test_every_statement_is_used_by_the_code(yard: Yard) -> None:
    """By a query of that name, inside another statement, or as a piece of one that finds jobs."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in STORE.rglob("*.py"))
    asked = {*re.findall(r'(?:TypedQuery|query|query_rows)\(\s*"(\w+)"', code)}
    finding = (STORE / "operations" / "finding.py").read_text(encoding="utf-8")
    pieces = {*re.findall(r'"(\w+)"', finding)}
    pieces |= {
        f"{word}_{how}"
        for word in (*WORDS, "argument", "metadata")
        for how in ("is", "begins", "above", "below", "part")
    }
    blocks = {**shipped_blocks("shared"), **shipped_blocks(yard.store.backend.dialect.name)}
    included = {*re.findall(r"\{(\w+)\}", "\n".join(blocks.values()))}
    unused = {
        name
        for name, source in blocks.items()
        if name not in asked | included and not ("\n-- part\n" in f"\n{source}" and name in pieces)
    }
    assert unused == set()


def test_no_statement_of_users_transactions_has_a_percent_sign(yard: Yard) -> None:
    """Drivers that mark parameters with one would take it for the beginning of a parameter."""
    found = {
        name
        for name in queries(yard).names()
        if any("%" in statement.sql.replace("%s", "") for statement in queries(yard)[name].statements)
    }
    assert found <= {"waits_begun_later"}, "write a division instead of a remainder"


def test_a_name_is_given_to_one_block_of_a_file() -> None:
    text = "-- ## one\n-- Is first.\nSELECT 1\n\n-- ## two\n-- Is second.\nSELECT 2\n"
    assert list(blocks_of(text, "it.sql")) == ["one", "two"]
    with pytest.raises(ValueError, match=r"it\.sql has two blocks 'one'"):
        blocks_of(text + "\n-- ## one\n-- Is third.\nSELECT 3\n", "it.sql")


def test_misspelt_statement_fails_the_test_above(sqlite_yard: Yard) -> None:
    sqlite_yard.store.lanes({HOME})
    backend = sqlite_yard.store.backend
    assert isinstance(backend, SqliteBackend)
    connection = backend.connect()
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("EXPLAIN SELECT nothing FROM posthorse_jobs")
    connection.close()


def test_rows_travel_as_array_literals() -> None:
    columns = [("job", "uuid"), ("n", "int"), ("text", "text")]
    rows = [("a", 1, 'x,"y\\z{}'), ("b", None, None), ("c", 3, "NULL")]
    assert rows_as_arrays(rows, columns) == {
        "rows_job": "{a,b,c}",
        "rows_n": "{1,NULL,3}",
        "rows_text": '{"x,\\"y\\\\z{}",NULL,"NULL"}',
    }
    texts = ['x,"y\\z{}', "", "NULL"]
    assert rows_as_arrays([(text,) for text in texts], [("text", "text")]) == {
        "rows_text": '{"x,\\"y\\\\z{}","","NULL"}',
    }
    assert rows_as_arrays([("a\0b",), ("c",)], [("text", "text")]) == {"rows_text": '{"a\0b","c"}'}
    assert rows_as_arrays([(None,)], [("text", "text")]) == {"rows_text": "{NULL}"}
    assert rows_as_arrays([], columns) == {"rows_job": "{}", "rows_n": "{}", "rows_text": "{}"}
