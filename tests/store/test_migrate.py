"""Migration: the schema is made once, whichever process comes first, and left alone if it is not ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from posthorse.errors import InvalidSettings, SchemaMismatch, StoreError, StoreUnreachable
from posthorse.rules.job import State
from posthorse.store import migrate
from posthorse.store.operations import read
from posthorse.store.store import Store
from tests.children import children
from tests.servers import MigratedDatabases
from tests.store.yard import Yard

ODD_NAMES = ["plain", "Mixed Case", 'qu"ote', "o'brien", "semi;colon :job @jobs", "1", "ü" * 30, "x" * 63, "%s{}$1\\"]


@pytest.fixture
def empty_url(databases: MigratedDatabases) -> Iterator[str]:
    """Yield a PostgreSQL database without our schema."""
    with databases.server("18").database() as url:
        yield url


def migrate_and_enqueue(url: str) -> None:
    store = Store(url)
    store.migrate()
    store.close()
    yard = Yard(url)
    yard.enqueue()
    yard.store.close()


def test_migrating_again_does_nothing(new_sqlite_url: str, empty_url: str) -> None:
    for url in (new_sqlite_url, empty_url):
        store = Store(url)
        assert (store.schema_version(), store.migrate(), store.migrate()) == (None, 1, 0)
        assert store.schema_version() == migrate.SCHEMA_VERSION
        store.close()


@pytest.mark.parametrize("is_sqlite", [True, False])
def test_processes_that_migrate_at_once_all_go_on(new_sqlite_url: str, empty_url: str, is_sqlite: bool) -> None:
    url = new_sqlite_url if is_sqlite else empty_url
    processes = [children.Process(target=migrate_and_enqueue, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    yard = Yard(url)
    assert yard.waiting() == 4
    yard.store.close()


def test_sqlite_file_is_made_at_first_use_with_its_folder(tmp_path: Path) -> None:
    yard = Yard(f"sqlite:///{tmp_path}/new/folder/jobs.db")
    [job] = yard.enqueue()
    assert yard.state(job) is State.PENDING
    yard.store.close()


def test_zero_byte_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").touch()
    yard = Yard(f"sqlite:///{tmp_path}/jobs.db")
    yard.enqueue()
    yard.store.close()


def test_store_lives_beside_the_tables_of_the_application(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id int)")
        shop.execute("INSERT INTO orders VALUES (7)")
        shop.commit()
    yard = Yard(f"sqlite:///{tmp_path}/shop.db")
    yard.enqueue()
    yard.store.close()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        assert shop.execute("SELECT id FROM orders").fetchall() == [(7,)]


def test_garbage_is_recognised_and_left_alone(tmp_path: Path) -> None:
    garbage = b"This is no database. " * 500
    (tmp_path / "jobs.db").write_bytes(garbage)
    with pytest.raises(SchemaMismatch, match="is not an SQLite database"):
        Store(f"sqlite:///{tmp_path}/jobs.db").read(read.running_count())
    assert (tmp_path / "jobs.db").read_bytes() == garbage


def test_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="cannot open the SQLite store"):
        Store(f"sqlite:///{tmp_path}").read(read.running_count())


@pytest.mark.parametrize(("version", "message"), [("99", "newer Posthorse.*upgrade"), ("0", "migrate")])
def test_newer_and_older_postgres_schemas_are_refused(postgres_url: str, version: str, message: str) -> None:
    set_version(postgres_url, version)
    store = Store(postgres_url)
    with pytest.raises(SchemaMismatch, match=message):
        store.run(read.running_count())
    store.close()


def test_newer_sqlite_schema_is_refused(sqlite_yard: Yard) -> None:
    sqlite_yard.enqueue()
    with sqlite_yard.store.transaction() as connection:
        connection.execute("UPDATE posthorse_meta SET value = '99'")  # type: ignore[attr-defined]  # sqlite3's
    fresh = Store(sqlite_yard.store.url)
    uses: tuple[Callable[[], object], ...] = (fresh.migrate, lambda: fresh.read(read.running_count()))
    for use in uses:
        with pytest.raises(SchemaMismatch, match="newer Posthorse"):
            use()
    fresh.close()


def test_tables_with_our_names_that_are_not_ours_are_recognised(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as other:
        other.execute("CREATE TABLE posthorse_meta (name text, value text)")
    store = Store(f"sqlite:///{tmp_path}/jobs.db")
    with pytest.raises(SchemaMismatch, match="no version"):
        store.read(read.running_count())
    store.close()


def test_postgres_without_schema_says_what_to_do(empty_url: str) -> None:
    store = Store(empty_url)
    with pytest.raises(SchemaMismatch, match="run `posthorse migrate`"):
        store.run(read.running_count())
    store.close()


def test_schema_that_vanished_says_what_to_do(postgres_url: str) -> None:
    yard = Yard(postgres_url)
    yard.enqueue()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DROP SCHEMA posthorse CASCADE")
    with pytest.raises(StoreError, match="run `posthorse migrate`"):
        yard.enqueue()
    yard.store.close()


def test_schemas_in_one_database_are_apart_whatever_their_names(empty_url: str) -> None:
    yards = [Yard(empty_url, schema=name) for name in ODD_NAMES]
    assert len({yard.channel for yard in yards}) == len(ODD_NAMES)
    for count, yard in enumerate(yards, 1):
        assert yard.store.migrate() == 1
        yard.enqueue(count)
        yard.enqueue(1, delay=1)
    for count, yard in enumerate(yards, 1):
        assert yard.waiting() == count
        assert yard.promote() == 1
        runner = yard.runner()
        assert len(yard.claim(runner, 99)) == count + 1
        assert yard.store.health()["pooled"] == 0
        yard.audit()
        yard.store.close()


@pytest.mark.parametrize("name", ["", "pg_mine", "x" * 64, "nul\0"])
def test_names_that_postgres_cannot_keep_are_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="schema is"):
        Store("postgresql://nobody@127.0.0.1:1/none", schema=name)


def test_role_without_any_rights_beyond_its_schema_is_enough(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS modest")
        admin.execute("CREATE ROLE modest LOGIN NOSUPERUSER")
        admin.execute("CREATE SCHEMA posthorse AUTHORIZATION modest")
    yard = Yard(empty_url.replace("postgres@", "modest@"))
    assert yard.store.migrate() == 1
    yard.complete(yard.started())
    yard.store.health()
    yard.store.close()
    with psycopg.connect(empty_url, autocommit=True) as admin:
        admin.execute("DROP OWNED BY modest CASCADE")
        admin.execute("DROP ROLE modest")


@pytest.mark.parametrize(
    "url",
    ["", "sqlite://", "sqlite:///:memory:", "mysql://x", "jobs.db", "postgresql://u:se cret@[bad/db", "postgres"],
)
def test_address_that_names_no_store_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Store(url)
    assert "cret" not in str(refused.value)


def test_wrong_address_is_said_at_once_and_without_the_password(databases: MigratedDatabases) -> None:
    port = urlsplit(databases.server("18").url()).port
    for url in (f"postgresql://postgres:secret@127.0.0.1:{port}/none", "postgresql://u:secret@127.0.0.1:1/db"):
        store = Store(url)
        store.backend.wait_at_most(0.1)
        with pytest.raises(StoreUnreachable) as refused:
            store.read(read.running_count())
        assert "secret" not in str(refused.value)
        assert "secret" not in store.where


def set_version(url: str, version: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE posthorse.meta SET value = %s WHERE name = 'schema_version'", [version])
