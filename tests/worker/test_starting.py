"""Starting a worker: how it ends if its runners cannot start, and what it does at its end for the user's libraries."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from posthorse.worker.base import entry
from tests.project import HEAD, Project
from tests.servers import MigratedDatabases
from tests.waiting import until, until_state

# ── runners that cannot start ────────────────────────────────────────────────────────────────────────


def test_the_folder_that_processes_add_to_their_path_holds_the_package_and_is_not_inside_it() -> None:
    assert Path(entry.HOME, "posthorse", "worker").is_dir()
    assert not Path(entry.HOME, "__init__.py").exists()


def test_a_worker_whose_runners_die_at_their_start_ends_and_says_why(project: Project) -> None:
    project.write("""
        import sys
        if "entry.py" in sys.argv[0]:
            os._exit(7)
    """)
    with project.working() as worker:
        assert worker.process.wait(60) == 70
        assert worker.log.count("died: exit code 7") >= 2
        assert "no runner can begin" in worker.log


def test_an_application_that_cannot_be_imported_by_runners_ends_the_worker(project: Project) -> None:
    project.write("""
        import sys
        if "entry.py" in sys.argv[0]:
            raise ValueError("not in a runner")
    """)
    with project.working() as worker:
        assert worker.process.wait(60) == 2
        assert "not in a runner" in worker.log


# ── a schema that does not fit ───────────────────────────────────────────────────────────────────────


def test_a_database_without_a_schema_ends_the_worker_with_five(project: Project, databases: MigratedDatabases) -> None:
    project.write("")
    with databases.server("18").database() as url, project.working(environment={"POSTHORSE_URL": url}) as worker:
        assert worker.process.wait(60) == 5
        assert "run `posthorse migrate`" in worker.log
        assert worker.log.count("(pid") == 1


@pytest.mark.parametrize("version", ["0", "99"])
def test_another_schema_on_postgresql_ends_the_worker_with_five(
    project: Project, databases: MigratedDatabases, version: str
) -> None:
    project.write("")
    with databases.fresh("18") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE posthorse.meta SET value = %s WHERE name = 'schema_version'", [version])
        with project.working(environment={"POSTHORSE_URL": url}) as worker:
            assert worker.process.wait(60) == 5
            assert "schema" in worker.log
            assert worker.log.count("(pid") == 1


def test_a_newer_schema_on_sqlite_ends_the_worker_with_five(project: Project) -> None:
    project.client.migrate()
    project.client.close()
    connection = sqlite3.connect(Path(project.client.store.where))
    connection.execute("UPDATE posthorse_meta SET value = '99' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()
    project.write("")
    with project.working() as worker:
        assert worker.process.wait(60) == 5
        assert "made by a newer Posthorse" in worker.log


# ── at exit ──────────────────────────────────────────────────────────────────────────────────────────

AT_EXIT = """
    import atexit, asyncio

    async def flush(name):
        with open(f"flushed-{name}", "w") as file:
            file.write(str(os.getpid()))

    @app.job
    def plain():
        atexit.register(lambda: asyncio.run(flush("runner")))
        print("printed by a job")

    @app.job(isolation="process")
    def isolated():
        atexit.register(lambda: asyncio.run(flush("child")))
"""


def test_what_was_registered_with_atexit_runs_when_a_worker_ends(project: Project) -> None:
    project.write(AT_EXIT)
    with project.working() as worker:
        project.result("plain")
        project.result("isolated")
        assert worker.stop() == 0
    assert {path.name for path in project.folder.glob("flushed-*")} == {"flushed-runner", "flushed-child"}


@pytest.mark.parametrize("kind", ["plain", "isolated"])
def test_what_hangs_at_exit_does_not_keep_a_worker(project: Project, kind: str) -> None:
    project.write("""
        import atexit, time

        @app.job
        def plain(): atexit.register(time.sleep, 3600)

        @app.job(isolation="process")
        def isolated(): atexit.register(time.sleep, 3600)
    """)
    with project.working() as worker:
        project.result(kind)
        assert worker.stop() == 0
        assert "stopping at once" not in worker.log


def test_the_same_for_a_run_whose_job_does_not_stop(project: Project) -> None:
    project.environment["POSTHORSE_GRACE"] = "100ms"
    project.write(
        """
        import atexit, pathlib, time
        atexit.register(pathlib.Path("flushed").touch)

        @app.job
        def goes_on():
            while True:
                time.sleep(0.01)
    """,
        head=HEAD.replace('grace="5s"', ""),
    )
    done = project.run("run", "goes_on", "--timeout", "3s")  # by then it goes on
    assert done.returncode == 124
    assert "does not stop" in done.stderr
    assert (project.folder / "flushed").exists()


# ── clean ends ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("store", ["project", "postgres_project"])
def test_a_clean_stop_logs_no_error(store: str, request: pytest.FixtureRequest) -> None:
    project: Project = request.getfixturevalue(store)
    project.environment |= {"POSTHORSE_LEASE": "3s", "POSTHORSE_HEARTBEAT": "10ms"}
    project.write("""
        @app.job
        def plain(): return 1

        @app.job
        def long(ctx: ph.Context):
            for batch in ctx.slices(range(1_000_000), size=1): pass

        @app.job(isolation="process")
        def apart(ctx: ph.Context):
            for batch in ctx.slices(range(1_000_000), size=1): pass
    """)
    jobs = [project.job("long"), project.job("apart")]
    for _ in range(3):
        with project.working("--processes", "2") as worker:
            project.result("plain")
            for job in jobs:
                until_state(job, "processing")
            assert worker.stop() == 0
    log = (project.folder / "worker.log").read_text(encoding="utf-8")
    assert [line for line in log.splitlines() if "ERROR" in line or "WARNING" in line] == []


# ── orphans ──────────────────────────────────────────────────────────────────────────────────────────

AS_INIT = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"
"""The kernel gives orphans to the supervisor, as to process 1 of a container."""


def test_a_supervisor_that_is_given_orphans_reaps_them(project: Project) -> None:
    project.write("""
        import subprocess

        @app.job
        def leaves_an_orphan():
            told = subprocess.run(["sh", "-c", "(setsid sleep 0.05 & echo $!); exit 0"], stdout=subprocess.PIPE)
            return int(told.stdout)
    """)
    with project.working(prelude=AS_INIT) as worker:
        orphans = [project.result("leaves_an_orphan") for _ in range(3)]
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), what="they are reaped")
        assert worker.process.poll() is None
        assert worker.stop() == 0
        assert "died" not in worker.log
