"""`yard` on every store; `sqlite_yard` and `postgres_yard` on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import OLDEST_POSTGRES, STORES
from tests.declared_rows import all_checked
from tests.servers import MigratedDatabases
from tests.store.yard import Yard


@pytest.fixture(autouse=True, scope="session")
def checked_rows() -> Iterator[None]:
    """Every row that a test reads is as its statement declares."""
    with all_checked():
        yield


@pytest.fixture
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """An empty store, once for each store that the test runs on."""
    store: str = request.param
    if store == "sqlite":
        yield from _open(request.getfixturevalue("sqlite_url"))
    else:
        databases: MigratedDatabases = request.getfixturevalue("databases")
        with databases.empty(store.removeprefix("postgres")) as url:
            yield from _open(url)


@pytest.fixture
def sqlite_yard(sqlite_url: str) -> Iterator[Yard]:
    yield from _open(sqlite_url)


@pytest.fixture
def postgres_yard(postgres_url: str) -> Iterator[Yard]:
    yield from _open(postgres_url)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "yard" in metafunc.fixturenames:
        oldest = (OLDEST_POSTGRES,) if metafunc.definition.get_closest_marker("all_postgres") else ()
        metafunc.parametrize("yard", (*STORES, *oldest), indirect=True)


def _open(url: str) -> Iterator[Yard]:
    yard = Yard(url)
    yield yard
    yard.store.close()
