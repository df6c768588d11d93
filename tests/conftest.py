"""The fixtures of all tests. `store_url` runs a test on each store; `sqlite_url`, `postgres_url`, `pooled_url` on one.
All three are empty stores; `new_sqlite_url` is the address of a file that does not exist yet.

`app` is an application on each store, `project` one in a folder of its own.

A test that uses `store_url` runs on SQLite and on PostgreSQL 18; marked `all_postgres`, on PostgreSQL 15, too. Every
test has its own database. If the machine lacks a server, its tests are skipped, and the server is named at the end of
the run; with CI=true they fail.
"""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings
from msgspec import structs

import posthorse as ph
from posthorse.rules.tuning import DEFAULTS, Tuning
from tests.project import Project
from tests.servers import MigratedDatabases, PostgresServer, ServerMissing, postgres_server

STORES = ("sqlite", "postgres18")
OLDEST_POSTGRES = "postgres15"
IN_MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux. Those of containers are often too small."""
ROOM = 3_000_000_000
"""Bytes that must be free there: what two processes of pytest need at the most, and as much again."""

settings.register_profile("posthorse", deadline=None)  # how long a busy machine takes proves nothing
settings.load_profile("posthorse")

_missing = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the processes of a run."""
    _hear_interrupts()
    _work_in_memory()
    _compile(config)


def _hear_interrupts() -> None:
    """Handle SIGINT: a script starts background jobs, such as these tests, with SIGINT ignored, and programs inherit
    that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _work_in_memory() -> None:
    """Keep the files of tests in memory, where syncs cost nothing: which syncs are made is proved in tests/faults/disk.

    TMPDIR says where they should be instead. Processes that tests start inherit it.
    """
    can_write = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK | os.X_OK)
    can_run = can_write and not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC  # programs that tests install
    if "TMPDIR" not in os.environ and can_run and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # it was chosen when another plugin asked


def _compile(config: pytest.Config) -> None:
    """Compile the package, which hundreds of processes import; with PYTHONDONTWRITEBYTECODE each would compile it."""
    found = importlib.util.find_spec("posthorse")
    if found is not None and found.origin is not None and not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(found.origin).parent, quiet=2)


@pytest.fixture(scope="session")
def databases() -> Iterator[MigratedDatabases]:
    """Yield the shared servers of this run; each starts when it is first needed."""
    with MigratedDatabases() as databases:
        yield databases


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that every account may enter; only the owner may enter those of pytest."""
    with tempfile.TemporaryDirectory(prefix="posthorse-") as folder:
        os.chmod(folder, 0o711)
        yield Path(folder)


@pytest.fixture
def tuning(request: pytest.FixtureRequest) -> Tuning:
    """Return the figures of the engine, changed as the test says: `@pytest.mark.tuning(keys_interval=0.05)`."""
    changed = {name: figure for mark in request.node.iter_markers("tuning") for name, figure in mark.kwargs.items()}
    return structs.replace(DEFAULTS, **changed)


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the file that stores on SQLite are copied from: to run the schema takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "jobs.db"
    with closing(ph.Posthorse(f"sqlite:///{path}")) as app:
        app.migrate()
    return path


@pytest.fixture
def new_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def sqlite_url(new_sqlite_url: str, empty_file: Path) -> str:
    shutil.copy(empty_file, new_sqlite_url.removeprefix("sqlite:///"))
    return new_sqlite_url


@pytest.fixture
def postgres_url(databases: MigratedDatabases) -> Iterator[str]:
    """Yield a migrated database on PostgreSQL 18."""
    with databases.empty("18") as url:
        yield url


@pytest.fixture
def pooled_url(databases: MigratedDatabases) -> Iterator[str]:
    """Yield a migrated database on PostgreSQL 18, behind PgBouncer in transaction mode."""
    with databases.fresh("18") as url:  # the pooler keeps connections to a database that was emptied
        yield databases.pooler().url(urlsplit(url).path.removeprefix("/"))


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Yield a durable PostgreSQL 18 that only this test uses, to stop, kill and start; without a schema."""
    with postgres_server("18", fsync=True) as server:
        yield server


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of an empty store, once for each store that the test runs on."""
    store: str = request.param
    if store == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        databases: MigratedDatabases = request.getfixturevalue("databases")
        with databases.empty(store.removeprefix("postgres")) as url:
            yield url


@pytest.fixture
def app(store_url: str, tuning: Tuning) -> Iterator[ph.Posthorse]:
    """Yield an application on each store."""
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s", tuning=tuning)
    yield app
    app.close()


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """Yield a project on SQLite, for workers in processes of their own."""
    project = Project(tmp_path, sqlite_url)
    yield project
    project.client.close()


@pytest.fixture
def postgres_project(tmp_path: Path, postgres_url: str) -> Iterator[Project]:
    """Yield a project on PostgreSQL, whose URL contains a password."""
    project = Project(tmp_path, postgres_url.replace("://postgres@", "://postgres:canary@"))
    yield project
    project.client.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_url" in metafunc.fixturenames:
        oldest = (OLDEST_POSTGRES,) if metafunc.definition.get_closest_marker("all_postgres") else ()
        metafunc.parametrize("store_url", (*STORES, *oldest), indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the conformance suite: the tests that run on every store. Refuse figures that would not reach any store."""
    for item in items:
        if item.get_closest_marker("tuning") and "tuning" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid}: none of its fixtures takes `tuning`; give Tuning(…) to the store")
        if not {"store_url", "yard"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("conformance")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _missing_server_skips(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _missing_server_skips(item.config):
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing: set[str] = config.stash.get(_missing, set())
    for reason in sorted(missing):
        terminalreporter.write_line(f"MISSING  {reason}. Its tests did not run.", yellow=True, bold=True)


@contextmanager
def _missing_server_skips(config: pytest.Config) -> Iterator[None]:
    try:
        yield
    except ServerMissing as missing:
        if os.environ.get("CI") == "true":
            raise pytest.fail.Exception(f"missing in CI: {missing}", pytrace=False) from None
        config.stash.setdefault(_missing, set()).add(str(missing))
        raise pytest.skip.Exception(str(missing)) from None
