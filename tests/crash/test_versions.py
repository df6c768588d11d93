"""F23, F24, F60: code that cannot be imported, workers of different versions, wakes that never arrive."""

from __future__ import annotations

import signal
import textwrap

import posthorse as ph
from tests.crash.application import add, app
from tests.crash.harness import Crash, send, wait_for

VERSION = """
    import posthorse as ph

    app = ph.Posthorse()

    @app.job
    def old(number: int) -> int:
        return number
"""
NEWER = (
    VERSION
    + """
    @app.job
    def new(number: int) -> int:
        return -number
"""
)


def test_a_worker_whose_code_cannot_be_imported_says_so_and_ends(sqlite_crash: Crash) -> None:
    target = _written(sqlite_crash, "broken", "import posthorse\nraise RuntimeError('no licence')")
    worker = sqlite_crash.start(target=target)
    assert worker.wait() == 2
    assert "no licence" in worker.log
    assert "Traceback" not in worker.log


def test_code_that_breaks_under_a_running_worker_is_tried_again_later(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    target = _written(crash, "changing", VERSION)
    worker = crash.start(target=target)
    crash.wait_until_ready(worker)
    job = _enqueue(crash, "old", 7)
    assert job.result(timeout=30) == 7
    _written(crash, "changing", "raise RuntimeError('half a deploy')")
    send(worker.runners[0], signal.SIGKILL)
    wait_for(lambda: worker.log.count("half a deploy") >= 2, "two more tries")
    _written(crash, "changing", VERSION)
    assert _enqueue(crash, "old", 8).result(timeout=30) == 8
    assert "starting runner 0 again in 0.8 s" in worker.log


def test_a_kind_that_this_version_does_not_know_waits_for_one_that_does(crash: Crash) -> None:
    first = crash.start(target=_written(crash, "first", VERSION))
    crash.wait_until_ready(first)
    unknown = _enqueue(crash, "new", 5)
    assert [_enqueue(crash, "old", number).result(timeout=30) for number in range(3)] == [0, 1, 2]
    row = crash.row(unknown)
    assert (row.state, row.epoch, row.is_ready) == ("pending", 0, True)
    crash.start(target=_written(crash, "second", NEWER))
    assert unknown.result(timeout=30) == -5
    assert crash.row(unknown).epoch == 1
    crash.check()


def test_a_job_whose_wake_was_lost_is_found_by_looking(postgres_crash: Crash) -> None:
    crash = postgres_crash
    worker = crash.start(poll="0.5s")
    crash.wait_until_ready(worker)
    with crash.ledger.connection() as connection:
        wait_for(lambda: connection.execute("SELECT 1 FROM posthorse.runners WHERE idle").fetchone(), "an idle runner")
        connection.execute("UPDATE posthorse.runners SET idle = false")  # enqueuing now wakes no runner
    assert add.enqueue(1, 2).result(timeout=30) == 3


def _written(crash: Crash, name: str, code: str) -> str:
    """Write an application module beside the store; return a target that a worker can import."""
    module = f"{name}_{crash.directory.name}"
    (crash.directory / f"{module}.py").write_text(textwrap.dedent(code))
    return f"{module}:app"


def _enqueue(crash: Crash, kind: str, number: int) -> ph.Job[int]:
    """Enqueue as an application of the newest version would."""
    newest = ph.Posthorse(crash.url)

    def function(number: int) -> int:
        return number

    [job] = newest.enqueue_many([newest.job(kind=kind)(function).bind(number)])
    newest.close()
    return app.get_job(job.id)  # type: ignore[return-value]  # it returns what the function does
