"""The fixtures of these tests: `yard` on every store; `sqlite_yard` and `postgres_yard` on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from posthorse.rules.tuning import Tuning
from tests.conftest import OLDEST_POSTGRES, STORES
from tests.declared_rows import all_checked
from tests.servers import MigratedDatabases
from tests.store.yard import Yard


@pytest.fixture(autouse=True, scope="session")
def checked_rows() -> Iterator[None]:
    """Check that every row that a test reads is as its statement declares."""
    with all_checked():
        yield


@pytest.fixture
def yard(request: pytest.FixtureRequest, tuning: Tuning) -> Iterator[Yard]:
    """Yield an empty store, once for each store that the test runs on."""
    store: str = request.param
    if store == "sqlite":
        yield from _open(request.getfixturevalue("sqlite_url"), tuning)
    else:
        databases: MigratedDatabases = request.getfixturevalue("databases")
        with databases.empty(store.removeprefix("postgres")) as url:
            yield from _open(url, tuning)


@pytest.fixture
def sqlite_yard(sqlite_url: str, tuning: Tuning) -> Iterator[Yard]:
    yield from _open(sqlite_url, tuning)


@pytest.fixture
def postgres_yard(postgres_url: str, tuning: Tuning) -> Iterator[Yard]:
    yield from _open(postgres_url, tuning)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "yard" in metafunc.fixturenames:
        oldest = (OLDEST_POSTGRES,) if metafunc.definition.get_closest_marker("all_postgres") else ()
        metafunc.parametrize("yard", (*STORES, *oldest), indirect=True)


def _open(url: str, tuning: Tuning) -> Iterator[Yard]:
    yard = Yard(url, tuning=tuning)
    yield yard
    yard.store.close()
