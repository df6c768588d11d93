"""`yard` on every store; `sqlite_yard` and `postgres_yard` on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.conftest import OLDEST_POSTGRES, STORES
from tests.servers import MigratedDatabases
from tests.store.yard import Yard

_EMPTY = """
    DO $$ BEGIN EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(format('posthorse.%I', tablename), ', ')
        FROM pg_tables WHERE schemaname = 'posthorse' AND tablename <> 'meta'
    ); END $$
"""


@pytest.fixture(scope="session")
def emptied_url(databases: MigratedDatabases) -> Iterator[Callable[[str], str]]:
    """One database of each PostgreSQL for all tests here, emptied for each: they are many and quick."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}

        def emptied(version: str) -> str:
            if version not in urls:
                urls[version] = stack.enter_context(databases.fresh(version))
            with psycopg.connect(urls[version], autocommit=True) as connection:
                connection.execute(_EMPTY)
            return urls[version]

        yield emptied


@pytest.fixture
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """An empty store, once for each store that the test runs on."""
    store: str = request.param
    if store == "sqlite":
        url = request.getfixturevalue("sqlite_url")
    else:
        url = request.getfixturevalue("emptied_url")(store.removeprefix("postgres"))
    yield from _open(url)


@pytest.fixture
def sqlite_yard(sqlite_url: str) -> Iterator[Yard]:
    yield from _open(sqlite_url)


@pytest.fixture
def postgres_yard(emptied_url: Callable[[str], str]) -> Iterator[Yard]:
    yield from _open(emptied_url("18"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "yard" in metafunc.fixturenames:
        oldest = (OLDEST_POSTGRES,) if metafunc.definition.get_closest_marker("all_postgres") else ()
        metafunc.parametrize("yard", (*STORES, *oldest), indirect=True)


def _open(url: str) -> Iterator[Yard]:
    yard = Yard(url)
    yield yard
    yard.store.close()
