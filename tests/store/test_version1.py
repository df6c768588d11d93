"""Stores of version 1 that become the schema of today: what was in them goes on."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest

from posthorse import failpoints
from posthorse.store import migrate
from posthorse.store.store import Store
from tests.servers import MigratedDatabases
from tests.store.version1.stores import make_store
from tests.store.yard import Yard

_COLUMNS = """
    SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        pg_get_expr(d.adbin, d.adrelid), c.reloptions
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'posthorse'::regnamespace ORDER BY c.relname, a.attnum
"""
_OTHERS = """
    SELECT c.relname, c.relkind, i.indisvalid, pg_get_indexdef(i.indexrelid), pg_get_viewdef(c.oid),
        (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ';' ORDER BY conname)
            FROM pg_constraint WHERE conrelid = c.oid)
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relnamespace = 'posthorse'::regnamespace ORDER BY c.relname
"""


@pytest.fixture(params=["sqlite", "postgres18"])
def bare_url(request: pytest.FixtureRequest, databases: MigratedDatabases, tmp_path: Path) -> Iterator[str]:
    """Where there is no store yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/jobs.db"
    else:
        with databases.server("18").database() as url:
            yield url


def shape_of(url: str) -> list[object]:
    """Return the schema, in a form that does not depend on how it was made."""
    if not url.startswith("sqlite"):
        with psycopg.connect(url) as connection:
            return [*connection.execute(_COLUMNS).fetchall(), *connection.execute(_OTHERS).fetchall()]
    found: list[object] = []
    with closing(sqlite3.connect(Path(urlsplit(url).path))) as connection:
        entries = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE name LIKE 'posthorse%' ORDER BY name"
        ).fetchall()
        for kind, name, source in entries:
            is_table = kind == "table"
            columns = connection.execute(f"PRAGMA {'table' if is_table else 'index'}_xinfo({name})").fetchall()
            indexes = connection.execute(f"PRAGMA index_list({name})").fetchall() if is_table else []
            found.append((kind, name, columns, sorted(index[1:] for index in indexes), None if is_table else source))
        found += connection.execute("PRAGMA table_list").fetchall()
    return sorted(found, key=str)


def facts_of(url: str) -> set[str]:
    """Return the names of the facts that a store knows of itself."""
    store = Store(url)
    with store.transaction() as connection:
        rows = cast("Any", connection).execute(f"SELECT name FROM {store.backend.dialect.table('meta')}").fetchall()
    store.close()
    return {name for (name,) in rows}


def migrated(url: str) -> list[str]:
    """Migrate; return what was said."""
    store, said = Store(url), list[str]()
    store.migrate(said.append)
    store.close()
    return said


def test_a_migrated_schema_equals_a_new_one(bare_url: str) -> None:
    make_store(bare_url)
    old = shape_of(bare_url)
    migrated(bare_url)
    was_migrated, facts = shape_of(bare_url), facts_of(bare_url)
    assert was_migrated != old
    remove_store(bare_url)
    migrated(bare_url)
    assert was_migrated == shape_of(bare_url)
    assert facts == facts_of(bare_url) | {"queues"}


def test_each_step_is_said_and_a_second_migration_says_nothing(bare_url: str) -> None:
    make_store(bare_url)
    store = Store(bare_url)
    announced = store.missing_steps()
    said = migrated(bare_url)
    assert said == announced
    assert said[0].startswith(f"schema 2, step 1 of {len(said)}: Create tables")
    assert store.missing_steps() == migrated(bare_url) == []
    assert store.schema_version() == migrate.SCHEMA_VERSION
    store.close()


def test_parked_jobs_get_their_lanes(bare_url: str) -> None:
    make_store(bare_url)
    migrated(bare_url)
    store = Store(bare_url)
    table = store.backend.dialect.table
    with store.transaction() as connection:
        rows = (
            cast("Any", connection)
            .execute(f"SELECT p.lane, j.lane FROM {table('parked')} p JOIN {table('jobs')} j ON j.id = p.job")
            .fetchall()
        )
    store.close()
    assert len(rows) == 10
    assert all(parked == own for parked, own in rows)


def die(url: str, passes: int) -> None:
    """Migrate, and be killed when the failpoint is passed so many times."""
    failpoints._armed = failpoints._Failpoint("migration", passes, None)  # the process has begun without one
    Store(url).migrate()


@pytest.mark.parametrize("has_store", [True, False])
def test_killed_anywhere_it_goes_on_when_run_again(bare_url: str, has_store: bool) -> None:
    """F87"""
    if has_store:
        make_store(bare_url)
    passes, rounds = 1, 0
    while True:
        dying = multiprocessing.get_context("spawn").Process(target=die, args=(bare_url, passes))
        dying.start()
        dying.join(60)
        if dying.exitcode == 0:
            break
        assert dying.exitcode == -9
        rounds += 1
        passes = 1 + rounds % 3  # die early, in the same step once more, and after it
    assert rounds > (5 if has_store else 0)
    shape = shape_of(bare_url)
    yard = Yard(bare_url)
    assert yard.store.migrate() == 0
    yard.audit()
    yard.store.close()
    remove_store(bare_url)
    migrated(bare_url)
    assert shape == shape_of(bare_url)


def remove_store(url: str) -> None:
    """Make room for another store at the same place."""
    if url.startswith("sqlite"):
        for file in Path(urlsplit(url).path).parent.glob("jobs.db*"):
            file.unlink()
        for file in Path(urlsplit(url).path).parent.glob(".jobs.db*"):
            file.unlink()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA IF EXISTS posthorse CASCADE")
