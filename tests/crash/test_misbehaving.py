"""F9, F12, F17, F18 and poison: jobs that kill their runner, block it, or hold what other jobs need."""

from __future__ import annotations

import signal

import pytest

import posthorse as ph
from posthorse.store.sqlite.backend import SqliteBackend
from tests.crash.application import (
    add,
    app,
    block_the_loop,
    exact,
    exit_quietly,
    hold_the_interpreter,
    poison,
    segfault,
    sleep_in_thread,
    stop_in_transaction,
)
from tests.crash.harness import SHORT_LEASE, Crash, send, wait_for

COUNT, SIZE = 60, 5


def test_a_job_that_ends_its_process_has_not_succeeded(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    jobs = [exit_quietly.enqueue(), segfault.enqueue()]
    crash.start(concurrency=1)
    for job, cause in zip(jobs, ("exit code 0", "SIGSEGV"), strict=True):
        with pytest.raises(ph.JobFailed, match=cause):
            job.result(timeout=30)
        assert crash.row(job).errors == 0
    crash.check()


def test_poison_is_told_from_its_neighbours(sqlite_crash: Crash) -> None:
    """All jobs beside it are suspects; then each runs alone, and only the culprit is charged."""
    crash = sqlite_crash
    neighbours = [exact.enqueue(COUNT, SIZE, 0.01) for _ in range(2)]
    crash.start()
    crash.wait_for_mark(neighbours[1].id, "in")
    culprit = poison.enqueue()
    with pytest.raises(ph.JobFailed, match="crashed its worker 2 times"):
        culprit.result(timeout=30)
    crash.drain(neighbours)
    for job in neighbours:
        crash.check_exact(job, COUNT)
        assert crash.row(job).crashes == 0
    assert crash.row(culprit).errors == 0
    assert crash.events(culprit)[-2:] == ["crashed", "failed"]
    crash.check()


def test_jobs_that_hold_the_interpreter_or_block_the_loop_keep_their_lease(sqlite_crash: Crash) -> None:
    _are_kept(sqlite_crash, seconds=5)


@pytest.mark.soak
def test_a_job_that_holds_the_interpreter_for_a_minute_keeps_its_lease(crash: Crash) -> None:
    _are_kept(crash, seconds=60)


def _are_kept(crash: Crash, *, seconds: float) -> None:
    holding, blocking = hold_the_interpreter.enqueue(seconds), block_the_loop.enqueue(seconds)
    crash.start(processes=2, concurrency=1, lease=SHORT_LEASE)
    crash.start(concurrency=1, lease=SHORT_LEASE)  # otherwise it would take over other jobs
    crash.drain([holding, blocking], within=seconds + 40)
    assert [holding.result(), blocking.result()] == ["held", "blocked"]
    assert [crash.row(holding).epoch, crash.row(blocking).epoch] == [1, 1]
    crash.check()


def test_long_jobs_leave_free_slots_to_others(sqlite_crash: Crash) -> None:
    long = [sleep_in_thread.enqueue(600) for _ in range(5)]
    sqlite_crash.start(concurrency=6)
    for job in long:
        sqlite_crash.wait_for_mark(job.id, "begin")
    assert add.enqueue(1, 2).result(timeout=30) == 3


def test_a_runner_that_is_blocked_beyond_the_stall_limit_is_replaced(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    neighbour = exact.enqueue(COUNT, SIZE, 0.05)
    worker = crash.start(stall="5s")
    crash.wait_for_mark(neighbour.id, "in", count=2)
    blocking = block_the_loop.enqueue(60)
    with pytest.raises(ph.JobFailed, match="crashed its worker"):
        blocking.result(timeout=30)
    crash.drain([neighbour])
    crash.check_exact(neighbour, COUNT)
    assert crash.row(neighbour).crashes == 0
    assert "was silent for 5 s and is replaced" in worker.log
    crash.check()


def test_a_process_stopped_inside_a_write_transaction_holds_nobody_for_ever(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    job = stop_in_transaction.enqueue()
    worker = crash.start()
    stopped = crash.wait_for_mark(job.id, "begin")
    assert isinstance(app.store.backend, SqliteBackend)
    app.store.backend.file.busy_seconds = 1.0
    with pytest.raises(ph.StoreUnreachable, match="stopped inside one"):
        add.enqueue(1, 2)
    assert job.status().state == "processing"  # reads go on
    [runner] = [process for process in worker.runners if process.pid == stopped.pid]
    send(runner, signal.SIGKILL)
    later = wait_for(lambda: add.enqueue(1, 2), "a write after the kill")
    crash.drain([job, later])
    assert later.result() == 3
    assert [effect.item for effect in crash.ledger.effects(job.id)] == [0]
    crash.check()
