"""Log lines of a worker: one per record whatever jobs say, with the job that it is about."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from posthorse.worker.base.loggers import keep_loggers
from tests.project import Project
from tests.waiting import until_state

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) +\d+ [\w.]+: ")
FORGED = "2026-01-01 00:00:00,000 ERROR   1 posthorse.worker: forged"

HARMFUL = f"""
    HARM = "no good\\n{FORGED}\\r\\u2028\\x1b[31mred\\x9b\\u202e"

    class Nasty(Exception): pass
    Nasty.__qualname__ = "Na" + HARM

    @app.job(max_attempts=1)
    def gives_up(): raise ph.GiveUp(HARM)

    @app.job
    def snoozes(ctx: ph.Context): raise ph.Snooze("1h", HARM)

    @app.job(max_attempts=1)
    def fails(): raise Nasty(HARM)

    @app.job(max_attempts=1, isolation="process")
    def fails_apart(): raise Nasty(HARM)

    @app.job(max_attempts=2, backoff=lambda attempt, error: 1 / 0 if HARM else 1)
    def has_a_broken_backoff(): raise Nasty(HARM)
"""


def test_no_text_of_a_job_looks_like_a_line_of_the_log(project: Project) -> None:
    project.write(HARMFUL)
    with project.working() as worker:
        for kind, state in {
            "gives_up": "failed",
            "snoozes": "scheduled",
            "fails": "failed",
            "fails_apart": "failed",
            "has_a_broken_backoff": "scheduled",
        }.items():
            until_state(project.job(kind), state)
        assert worker.stop() == 0
    lines = worker.log[worker.log.index("runner 0 started") :].split("\n")
    assert "forged" in worker.log
    for line in lines[1:]:
        assert line == "" or LINE.match(line) or line.startswith("    "), line
        assert not line.startswith(FORGED[:20])
        assert line.isprintable(), line


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Yield what a handler of the application's writes of our records."""
    stream, logger = io.StringIO(), logging.getLogger("posthorse.worker")
    handler = logging.StreamHandler(stream)
    keep_loggers()
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_an_error_of_several_lines_is_one_in_the_log(written: io.StringIO) -> None:
    libpq = 'connection to server at "a", port 5432 failed:\n\tIs the server running?\nconnection to "b" failed'
    logging.getLogger("posthorse.worker").error("cannot claim: %s; again in %.1f s", OSError(libpq), 1.25)
    assert written.getvalue() == (
        'cannot claim: connection to server at "a", port 5432 failed: Is the server running? connection to "b" failed; '
        "again in 1.2 s\n"
    )


def test_a_traceback_is_set_in_and_harmless(written: io.StringIO) -> None:
    try:
        raise ValueError(f"no good\n{FORGED}\x1b[31m")
    except ValueError:
        logging.getLogger("posthorse.worker").exception("it failed: %r", "a\nb")
    first, *others = written.getvalue().rstrip("\n").split("\n")
    assert first == r"it failed: 'a\nb'"
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert rf"    {' '.join(FORGED.split())}\x1b[31m" in others


TELLING = """
    import logging

    def tell():
        logging.getLogger("shop").warning("from the shop")

    @app.job(max_attempts=1)
    def in_thread(ctx: ph.Context):
        tell()
        ctx.log.warning("from ctx.log")
        raise ValueError("no good")

    @app.job(max_attempts=1)
    async def on_loop(): tell()

    @app.job(max_attempts=1, isolation="process")
    def isolated(): tell()
"""


def test_lines_tell_of_which_job_they_are(project: Project) -> None:
    project.write(TELLING)
    with project.working() as worker:
        failing = project.job("in_thread")
        until_state(failing, "failed")
        completing = {kind: project.job(kind) for kind in ("on_loop", "isolated")}
        for job in completing.values():
            job.result(timeout=60)
        assert worker.stop() == 0
    log = worker.log
    assert f"posthorse.worker: job {failing.id} (in_thread): failed in 1 attempt, after " in log
    assert f"posthorse.job: from ctx.log [job {failing.id} (in_thread), attempt 1]" in log
    for kind, job in {"in_thread": failing, **completing}.items():
        assert f"shop: from the shop [job {job.id} ({kind}), attempt 1]\n" in log
    assert " begins" not in log


def test_beginnings_and_ends_are_told_on_demand(project: Project) -> None:
    project.write(TELLING)
    with project.working("--log-level", "debug") as worker:
        job = project.job("on_loop")
        job.result(timeout=60)
        assert worker.stop() == 0
    assert f"job {job.id} (on_loop, attempt 1) begins" in worker.log
    assert re.search(rf"job {job.id} \(on_loop, attempt 1\) ended after <?\d+(ms|s): returned", worker.log)
