"""F2, F3, F12, F13, F19, I22: isolated jobs and their processes if anything above them dies or is given up."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable

import pytest

from tests.crash.application import add, exact, exact_apart, sleep_in_thread, spawn_apart, swallow
from tests.crash.harness import SHORT_LEASE, Crash, send, wait_for
from tests.marked import MARKER, living

COUNT, SIZE = 60, 5

Living = Callable[[], list[int]]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Living:
    """Return a function that tells which processes live that workers of this test are or started."""
    marker = str(uuid.uuid4())
    monkeypatch.setenv(MARKER, marker)
    return lambda: living(marker)


def test_a_child_that_is_killed_between_slices_doubles_and_loses_nothing(crash: Crash) -> None:
    apart, neighbour = exact_apart.enqueue(COUNT, SIZE, 0.03), exact.enqueue(COUNT, SIZE, 0.03)
    worker = crash.start()
    [runner] = wait_for(lambda: worker.runners, "the runner")
    for time in range(1, 4):
        child = crash.wait_for_mark(apart.id, "begin", count=time).pid
        wait_for(lambda child=child: crash.was_inside_a_slice(child), "its slices")  # type: ignore[misc]  # its default
        os.kill(child, signal.SIGKILL)
    crash.drain([apart, neighbour])
    crash.check_exact(apart, COUNT)
    crash.check_exact(neighbour, COUNT)
    assert worker.runners == [runner]
    assert crash.row(neighbour).epoch == 1
    assert crash.row(apart).epoch == 4
    assert crash.events(apart) == ["crashed"] * 3
    crash.check()


@pytest.mark.parametrize("dies", ["runner", "supervisor", "both"])
def test_nothing_is_left_of_an_isolated_job_when_those_above_it_die(
    sqlite_crash: Crash, left: Living, dies: str
) -> None:
    crash = sqlite_crash
    job = spawn_apart.enqueue(600)
    worker = crash.start(lease=SHORT_LEASE)
    crash.wait_for_mark(job.id, "spawned")
    [runner] = worker.runners
    before = set(left())
    assert len(before) >= 6  # supervisor, runner, reaper, child and what it started
    if dies == "both":
        for process in (worker.supervisor, runner):
            send(process, signal.SIGSTOP)
    if dies != "supervisor":
        crash.kill(runner)
    if dies != "runner":
        worker.kill_supervisor()
    keeps = {worker.supervisor.pid} if dies == "runner" else set[int]()
    wait_for(lambda: before & set(left()) == keeps, "the end of the rest")
    if dies != "runner":
        crash.start(lease=SHORT_LEASE)
    assert job.result(timeout=30) == 2
    assert crash.row(job).crashes == 0  # the runner died, not the job
    assert crash.events(job) == ["lost"]
    crash.check()


def test_a_runner_with_a_job_that_does_not_end_is_replaced_and_its_neighbours_keep_their_place(
    sqlite_crash: Crash,
) -> None:
    crash = sqlite_crash
    neighbour = exact.enqueue(1000, SIZE, 0.02)
    stuck = swallow.enqueue(600)
    worker = crash.start(grace="1s")
    crash.wait_for_mark(stuck.id, "begin")
    crash.wait_for_mark(neighbour.id, "in", count=3)
    [runner] = worker.runners
    stuck.cancel()
    wait_for(lambda: stuck.status().state == "cancelled", "the cancel by force")
    wait_for(lambda: not runner.is_alive and worker.runners, "another runner")
    crash.wait_for_mark(neighbour.id, "begin", count=2)
    assert add.enqueue(1, 2).result(timeout=30) == 3
    row = crash.row(neighbour)
    assert (row.errors, row.crashes, row.interruptions) == (0, 0, 0)
    assert crash.events(neighbour) == ["released"]
    assert "again in" not in worker.log  # not as after a quick death
    neighbour.cancel()
    crash.drain([neighbour])
    crash.check()


@pytest.mark.parametrize("force", [False, True])
def test_a_thread_that_goes_on_after_its_cancel_counts_as_cancelled(sqlite_crash: Crash, force: bool) -> None:
    crash = sqlite_crash
    stuck = sleep_in_thread.enqueue(600)
    worker = crash.start(grace="1s")
    crash.wait_for_mark(stuck.id, "begin")
    [runner] = worker.runners
    stuck.cancel(force=force)
    wait_for(lambda: stuck.status().state == "cancelled", "the cancel by force")
    wait_for(lambda: not runner.is_alive and worker.runners, "another runner")
    assert crash.events(stuck) == ["cancelled"]
    assert add.enqueue(1, 2).result(timeout=30) == 3
    crash.check()
