"""Version 1 of the schema: its stores are migrated, and what was in them goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest

import posthorse as ph
from posthorse import failpoints
from posthorse.store import migrate
from posthorse.store.queries import Queries
from posthorse.store.store import Store
from tests.children import children
from tests.servers import MigratedDatabases
from tests.store.version1 import shop
from tests.store.version1.stores import make_store, remove_store, statements
from tests.store.yard import Yard
from tests.waiting import until_state

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
    """Yield the URL of a place without a store."""
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
    """Migrate; return the messages."""
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
    """Migrate, and be killed when the failpoint is passed this many times."""
    failpoints._armed = failpoints._Failpoint("migration", passes, None)  # the process started without one
    Store(url).migrate()


@pytest.mark.parametrize("has_store", [True, False])
def test_killed_anywhere_it_goes_on_when_run_again(bare_url: str, has_store: bool) -> None:
    """F87"""
    if has_store:
        make_store(bare_url)
    passes, rounds = 1, 0
    while True:
        dying = children.Process(target=die, args=(bare_url, passes))
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


def test_every_statement_of_version_1_still_runs(yard: Yard) -> None:
    """Running workers of version 1 go on; a column that must not be empty would end them."""
    backend = yard.store.backend
    queries = Queries(backend.dialect)
    queries._sources = statements(backend.dialect.name)
    yard.enqueue()
    with yard.store.transaction() as connection:
        for name in queries.names():
            for number, statement in enumerate(queries[name].statements):
                if backend.dialect.name == "sqlite":
                    values = [None] * len(statement.names)
                    cast("sqlite3.Connection", connection).execute(f"EXPLAIN {statement.sql}", values)
                elif "savepoint" not in name:
                    cast("Any", connection).execute(f"PREPARE {name}_{number} AS {statement.sql}")


def test_new_columns_of_old_tables_may_be_empty(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    make_store(url)
    old = columns_of(tmp_path / "jobs.db")
    migrated(url)
    new = columns_of(tmp_path / "jobs.db")
    added = {
        column: may_be_empty for column, may_be_empty in new.items() if column not in old and column[0] in tables(old)
    }
    assert added
    assert all(added.values())


def columns_of(path: Path) -> dict[tuple[str, str], bool]:
    """Return all columns (table, name), and whether an INSERT may leave them out."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            """SELECT t.name, c.name, c."notnull" = 0 OR c.dflt_value IS NOT NULL
            FROM sqlite_schema t, pragma_table_xinfo(t.name) c WHERE t.type = 'table'"""
        ).fetchall()
    return {(table, name): bool(may_be_empty) for table, name, may_be_empty in rows}


def tables(columns: Iterable[tuple[str, str]]) -> set[str]:
    return {table for table, _ in columns}


def test_what_version_1_left_goes_on(bare_url: str) -> None:
    names = make_store(bare_url)
    migrated(bare_url)
    app = shop.app
    app.use_url(bare_url)
    jobs = {name: app.get_job(id) for name, id in names.items()}

    assert shop.rebuild.enqueue(2).id == names["unique"]
    assert shop.plain.using(key="order 7").enqueue(7).id == names["completed with a key"]
    assert shop.plain.using(key=ph.Key("order 8", ttl="1000d")).enqueue(8).id == names["with a key"]
    with pytest.raises(ph.KeyConflict):
        shop.plain.using(key="order 7").enqueue(8)
    dead = ["dead", "dead for a tenant", "dead with bad items"]
    assert {job.id for job in app.jobs("state:failed")} == {names[name] for name in dead}
    assert [job.id for job in app.jobs("state:failed tenant:acme")] == [names["dead for a tenant"]]
    assert [item.item for item in jobs["dead with bad items"].bad_items()] == [0, 7, 14, 21, 28, 35]
    assert [attempt.outcome for attempt in jobs["recovered"].attempts()] == ["failed", "completed"]
    assert jobs["recovered"].attempts()[1].worker is not None

    for name in dead:
        jobs[name].retry()
    jobs["paused in its loop"].resume()
    stays = {
        "running with a request": "paused",
        "does not fit": "blocked",
        "cancelled": "cancelled",
        "discarded": "cancelled",
        "paused": "paused",
        "scheduled": "scheduled",
    }
    with app.worker():
        for name, job in jobs.items():
            until_state(job, stays.get(name, "completed"))
    for name in ("paused in its loop", "running in its loop"):
        assert jobs[name].result() == {"total": sum(range(100)), "began": list(range(0, 100, 10))}
    assert jobs["completed for a tenant"].status().tags == ("red", "blue")
    app.close()
    yard = Yard(bare_url)
    yard.audit()
    yard.store.close()
