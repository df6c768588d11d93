"""Migrations beside writers: no writer waits for long, none fails, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from posthorse.errors import SchemaMismatch, StoreError
from posthorse.maintenance.chores.lanes import EnterLanes
from posthorse.rules.job import State
from posthorse.rules.tuning import Tuning
from posthorse.store import migrate
from posthorse.store.operations import read, runners
from posthorse.store.postgres import migrator
from posthorse.store.sqlite import migrator as sqlite_migrator
from posthorse.store.sqlite.turnstile import Turnstile
from posthorse.store.store import Store
from tests.children import children
from tests.servers import MigratedDatabases
from tests.store.version1.stores import fill, make_store
from tests.store.version1.writer import Written, write
from tests.store.yard import Yard
from tests.waiting import until

COMPLETED, SCHEDULED = 40_000, 10_000
WRITERS = 2


@pytest.fixture
def empty_url(databases: MigratedDatabases) -> Iterator[str]:
    """Yield a PostgreSQL database without a store."""
    with databases.server("18").database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres18"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty store of version 1."""
    url: str = f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else request.getfixturevalue("empty_url")
    make_store(url, with_rows=False)
    return url


@contextmanager
def writers(url: str) -> Iterator[list[Written]]:
    """Run processes that write inside the block; afterwards, the list contains what they wrote."""
    is_over, told, found = children.Event(), children.Queue(), list[Written]()
    begun = [children.Event() for _ in range(WRITERS)]
    processes = [children.Process(target=write, args=(url, each, is_over, told)) for each in begun]
    for process in processes:
        process.start()
    try:
        until(lambda: all(each.is_set() for each in begun) or processes[0].exitcode, what="the writers write")
        yield found
    finally:
        is_over.set()
    found += [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * WRITERS


def test_writers_of_version_1_go_on_while_a_store_is_migrated(old_url: str) -> None:
    """F57"""
    fill(old_url, completed=COMPLETED, scheduled=SCHEDULED)
    with writers(old_url) as written:
        store = Store(old_url)
        assert store.migrate(lambda _: None) > 0
        store.close()
    yard = Yard(old_url)
    while yard.store.run(runners.enter_lanes(1000)):
        pass
    yard.audit()
    counts = yard.store.read(read.parked_counts())
    assert min(each.completed for each in written) > 0
    assert counts[State.FAILED] == sum(each.failed for each in written)
    with yard.store.transaction() as connection:
        jobs = (
            cast("Any", connection)
            .execute(f"SELECT count(*) FROM {yard.store.backend.dialect.table('jobs')}")
            .fetchone()
        )
    assert jobs == (COMPLETED + SCHEDULED + sum(each.enqueued for each in written),)
    yard.store.close()


def test_a_migration_that_needs_a_lock_lets_writers_pass_and_tries_again(empty_url: str) -> None:
    make_store(empty_url)
    said: list[str] = []
    store = Store(empty_url)
    migrating = threading.Thread(target=store.migrate, args=(said.append,))
    with psycopg.connect(empty_url) as holder, psycopg.connect(empty_url, autocommit=True) as other:
        holder.execute("UPDATE posthorse.parked SET since = since")
        migrating.start()
        other.execute("SET lock_timeout = '1s'")
        while said.count(migrator.TRIES_AGAIN) < 2:
            other.execute("INSERT INTO posthorse.parked (job, state, since) VALUES (gen_random_uuid(), 'paused', 0)")
        assert not any("step 5" in each for each in said)
        holder.rollback()
        migrating.join(60)
    assert "step 17" in said[-1]
    assert store.schema_version() == migrate.SCHEMA_VERSION
    store.close()


def test_a_migration_that_gets_no_lock_says_so_and_goes_on_later(empty_url: str) -> None:
    make_store(empty_url)
    store = Store(empty_url, tuning=Tuning(migration_patience=0))
    with psycopg.connect(empty_url) as holder:
        holder.execute("UPDATE posthorse.parked SET since = since")
        with pytest.raises(StoreError, match="run `posthorse migrate` again"):
            store.migrate()
    assert store.schema_version() == 1
    assert store.missing_steps()[0].partition(":")[0] == "schema 2, step 4 of 17"
    with pytest.raises(SchemaMismatch, match="run `posthorse migrate`"):
        store.read(read.running_count())
    assert store.migrate() == 14
    store.close()


def test_an_index_that_was_left_incomplete_is_built_anew(empty_url: str) -> None:
    make_store(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE INDEX jobs_by_lane ON posthorse.jobs (id)")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'posthorse.jobs_by_lane'::regclass"
        )
        Store(empty_url).migrate()
        found = connection.execute(
            """SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index
            WHERE indexrelid = 'posthorse.jobs_by_lane'::regclass"""
        ).fetchall()
    assert found == [(True, "CREATE INDEX jobs_by_lane ON posthorse.jobs USING btree (lane, id)")]


def test_of_two_that_migrate_on_postgresql_one_waits_and_says_so(empty_url: str) -> None:
    make_store(empty_url)
    first, second = Store(empty_url), Store(empty_url)
    taken: list[int] = []
    said: list[str] = []
    begins, waits = threading.Event(), threading.Event()

    def tell(_: str) -> None:
        begins.set()
        assert waits.wait(60)

    def listen(sentence: str) -> None:
        said.append(sentence)
        waits.set()

    one = threading.Thread(target=lambda: taken.append(first.migrate(tell)))
    one.start()
    assert begins.wait(60)
    assert second.migrate(listen) == 0
    one.join(60)
    assert taken == [17]
    assert said == [migrator.ANOTHER]
    first.close()
    second.close()


def test_processes_that_migrate_a_file_share_its_steps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    make_store(url)
    stores = [Store(url) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        assert sum(pool.map(Store.migrate, stores)) == 17
    for store in stores:
        assert store.schema_version() == migrate.SCHEMA_VERSION
        store.close()


def test_a_process_that_waits_for_a_step_of_another_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    make_store(url)
    turnstile, said = Turnstile(tmp_path / "jobs.db"), list[str]()

    def tell(sentence: str) -> None:
        said.append(sentence)
        turnstile.leave()

    turnstile.enter(1)
    store = Store(url, tuning=Tuning(migration_turn=0.05))
    assert store.migrate(tell) == 17
    assert said[0] == sqlite_migrator.ANOTHER
    turnstile.close()
    store.close()


def test_the_sweep_enters_the_lanes_of_what_old_workers_parked(yard: Yard) -> None:
    yard.enqueue(3, delay=60_000_000)
    with yard.store.transaction() as connection:
        cast("Any", connection).execute(f"UPDATE {yard.store.backend.dialect.table('parked')} SET lane = NULL")
    asyncio.run(EnterLanes(yard.store).run(None))
    yard.audit()
