"""The life of processes that run jobs: what they call at their start and at their end, and what their jobs share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project import Project
from tests.waiting import until

HEAD = """
import asyncio
import atexit
import os
import sys
import threading
from pathlib import Path

import posthorse as ph
from posthorse.rules.tuning import Tuning

app = ph.Posthorse(grace="5s", tuning=Tuning(stop_time=0.2))
notes = Path(__file__).with_name("notes")


def note(*words):
    with notes.open("a") as file:
        file.write(" ".join(map(str, (os.getpid(), *words))) + "\\n")
"""

SHOP = """
@app.on_start
def first():
    note("first")
    atexit.register(note, "atexit")

@app.on_start
async def second():
    await asyncio.sleep(0)
    note("second")

@app.on_stop
def last():
    note("last")

@app.on_stop
async def before():
    await asyncio.sleep(0)
    note("before")

async def engine():
    note("engine opens")
    yield "engine"
    note("engine closes")

def session(engine=ph.depends(engine, scope="process")):
    note("session opens on", engine)
    try:
        yield "session"
    except BaseException as error:
        note("session sees", type(error).__name__)
        raise
    note("session closes")

@app.job(isolation="process")
def isolated(db=ph.depends(session)):
    return os.getpid()

@app.job(isolation="process")
async def aisolated(db=ph.depends(session)):
    return os.getpid()

@app.job(isolation="process", max_attempts=1)
def broken(db=ph.depends(session)):
    raise ValueError(db)

@app.job
def threaded(db=ph.depends(session)):
    return os.getpid()

@app.job
async def awaited(db=ph.depends(session)):
    return os.getpid()
"""


def notes_by_process(project: Project) -> dict[int, list[str]]:
    """Return what each process noted."""
    found: dict[int, list[str]] = {}
    for line in Path(project.folder, "notes").read_text().splitlines():
        pid, _, words = line.partition(" ")
        found.setdefault(int(pid), []).append(words)
    return found


def test_runners_and_children_call_what_the_application_wants_at_their_start_and_end(project: Project) -> None:
    project.write(SHOP, head=HEAD)
    with project.working("--processes", "1") as worker:
        runner = {project.result("threaded"), project.result("awaited")}
        child = {project.result("isolated"), project.result("aisolated")}
        broken = project.job("broken")
        until(lambda: broken.status().state == "failed")
        assert worker.stop() == 0
        log = worker.log
    assert (len(runner), len(child)) == (1, 1)
    session = ["session opens on engine", "session closes"]
    end = ["engine closes", "before", "last", "atexit"]
    noted = notes_by_process(project)
    assert noted[int(str(runner.pop()))] == ["first", "second", "engine opens", *session * 2, *end]
    failed = ["session opens on engine", "session sees ValueError"]
    assert noted[int(str(child.pop()))] == ["first", "second", "engine opens", *session * 2, *failed, *end]
    assert len(noted) == 2
    assert "ERROR" not in re.sub(r"ERROR.*broken.*", "", log)


def test_posthorse_run_calls_them_too(project: Project) -> None:
    project.write(SHOP, head=HEAD)
    ended = project.run("run", "awaited")
    assert ended.returncode == 0, ended.stderr
    [noted] = notes_by_process(project).values()
    session = ["session opens on engine", "session closes"]
    assert noted == ["first", "second", "engine opens", *session, "engine closes", "before", "last", "atexit"]


def test_a_worker_whose_on_start_fails_says_why_and_ends_after_three_tries(project: Project) -> None:
    project.write(
        """
        @app.on_start
        def warm_up():
            note("tried")
            raise ConnectionError("no cache there")

        @app.on_stop
        def never():
            note("stopped")
        """,
        head=HEAD,
    )
    with project.working("--processes", "1") as worker:
        assert worker.process.wait(60) == 70
        assert worker.log.count("ConnectionError: no cache there") == 3
        assert "raised by warm_up(), a function of on_start" in worker.log
        assert "no runner can begin" in worker.log
    assert list(notes_by_process(project).values()) == [["tried"]] * 3


def test_an_isolated_job_waits_while_on_start_fails_in_its_child(project: Project) -> None:
    project.write(
        """
        @app.on_start
        def warm_up():
            if "entry.py" in sys.argv[0] and "child" in " ".join(sys.orig_argv):
                raise ConnectionError("no cache there")

        @app.job(isolation="process")
        def isolated(): ...
        """,
        head=HEAD,
    )
    with project.working("--processes", "1"):
        job = project.job("isolated")
        until(lambda: "no cache there" in str(job.status().reason))
        assert not job.status().state.is_final


@pytest.mark.parametrize("colour", ["", "async "])
def test_functions_at_the_end_that_fail_or_hang_do_not_stop_the_end(project: Project, colour: str) -> None:
    project.write(
        f"""
        @app.on_stop
        def last():
            note("last")

        @app.on_stop
        {colour}def hangs():
            note("hangs")
            {"await asyncio.Event().wait()" if colour else "threading.Event().wait()"}

        @app.on_stop
        {colour}def fails():
            note("fails")
            sys.exit("not like this")

        @app.job
        def pid(): ...
        """,
        head=HEAD,
    )
    with project.working("--processes", "1") as worker:
        project.result("pid")
        assert worker.stop() == 0
        assert "fails(), a function of on_stop, failed" in worker.log
        assert "hangs(), a function of on_stop, did not end in time" in worker.log
    assert list(notes_by_process(project).values()) == [["fails", "hangs", "last"]]


def test_a_runner_that_is_replaced_calls_on_stop(project: Project) -> None:
    project.write(
        """
        @app.on_stop
        def last():
            note("last")

        @app.job(timeout="0.1s", max_attempts=1)
        def stuck(ctx: ph.Context):
            threading.Event().wait()

        @app.job
        def pid():
            return os.getpid()
        """,
        head=HEAD,
    )
    with project.working("--processes", "1") as worker:
        before = project.result("pid")
        project.job("stuck")
        until(lambda: "another takes its place" in worker.log, patience=60)
        assert project.result("pid") != before
    assert next(iter(notes_by_process(project))) == before
