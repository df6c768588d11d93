"""F2, F4 to F7, F19: how a worker ends, and how its runners follow it."""

from __future__ import annotations

import signal

import pytest

import posthorse as ph
from tests.crash.application import app as application
from tests.crash.application import (
    block_the_loop,
    exact,
    hold_the_interpreter,
    sleep_in_thread,
    swallow,
    swallow_cancellations,
    swallow_in_thread,
)
from tests.crash.harness import Crash, Process, gone, wait_for


def test_an_idle_worker_ends_at_once(sqlite_crash: Crash) -> None:
    worker = sqlite_crash.start(processes=2, poll="10m", grace="10m")
    sqlite_crash.wait_until_ready(worker, processes=2)
    tree = worker.tree
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    gone(tree)


def test_a_worker_that_is_told_to_stop_while_it_starts_stops(sqlite_crash: Crash) -> None:
    worker = sqlite_crash.start()
    wait_for(lambda: worker.runners, "the first runner")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_busy_worker_drains_and_what_is_left_goes_back_unspent(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    whole, sliced = sleep_in_thread.enqueue(0.7), exact.enqueue(1000, 1, 0.02)
    worker = crash.start()
    crash.wait_for_mark(whole.id, "begin")
    crash.wait_for_mark(sliced.id, "in", count=3)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert whole.status().state == "completed"
    row = crash.row(sliced)
    assert (row.state, row.errors, row.crashes, row.interruptions) == ("pending", 0, 0, 0)
    assert len(crash.ledger.effects(sliced.id)) == sliced.status().progress.done
    crash.check()


def test_jobs_that_ignore_the_stop_are_killed_at_the_end_of_the_grace_and_unspent(sqlite_crash: Crash) -> None:
    jobs, tree = _deaf_jobs_stopped(sqlite_crash, grace="1s", signals=1)
    gone(tree)
    _are_unspent(sqlite_crash, jobs)


@pytest.mark.parametrize("kind", [block_the_loop, hold_the_interpreter])
def test_a_job_that_blocks_its_runner_keeps_it_no_longer_than_the_others(
    sqlite_crash: Crash, kind: ph.Kind[[float], str]
) -> None:
    crash = sqlite_crash
    job = kind.enqueue(600)
    worker = crash.start(grace="1s")
    crash.wait_for_mark(job.id, "begin")
    worker.stop(grace=1)
    _are_unspent(crash, [job])


def test_an_embedded_worker_is_left_although_a_job_blocks_its_loop(sqlite_crash: Crash) -> None:
    job = block_the_loop.enqueue(600)
    worker = sqlite_crash.start_embedded(grace="1s")
    sqlite_crash.wait_for_mark(job.id, "begin")
    worker.stop(grace=1)


def test_an_embedded_worker_is_left_although_a_job_swallows_its_cancellation(sqlite_crash: Crash) -> None:
    job = swallow_cancellations.enqueue(600)
    worker = sqlite_crash.start_embedded(grace="1s")
    sqlite_crash.wait_for_mark(job.id, "begin")
    worker.stop(grace=1)
    _are_unspent(sqlite_crash, [job])


def test_an_idle_worker_ends_although_its_file_stays_locked(sqlite_crash: Crash) -> None:
    worker = sqlite_crash.start(grace="1s")
    sqlite_crash.wait_until_ready(worker)
    with application.store.transaction():
        worker.stop(grace=1)


@pytest.mark.parametrize("how", ["worker", "embedded", "run"])
def test_what_works_ends_within_its_grace_although_its_file_stays_locked(sqlite_crash: Crash, how: str) -> None:
    crash = sqlite_crash
    job = sleep_in_thread.enqueue(600)
    match how:
        case "worker":
            worker = crash.start(grace="1s")
        case "embedded":
            worker = crash.start_embedded(grace="1s")
        case _:
            worker = crash.start_run(job.id, grace="1s")
    crash.wait_for_mark(job.id, "begin")
    with application.store.transaction():
        worker.stop(grace=1, code=130 if how == "run" else 0)
    crash.check()


def test_a_job_that_uses_its_grace_to_the_end_is_completed(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    job = sleep_in_thread.enqueue(4)
    worker = crash.start(grace="6s")
    crash.wait_for_mark(job.id, "begin")
    worker.stop(grace=6)
    assert job.status().state == "completed"


def test_a_second_signal_stops_at_once(sqlite_crash: Crash) -> None:
    jobs, tree = _deaf_jobs_stopped(sqlite_crash, grace="10m", signals=2)
    gone(tree)
    _are_unspent(sqlite_crash, jobs)


def test_runners_die_with_their_supervisor(sqlite_crash: Crash) -> None:
    job = sleep_in_thread.enqueue(600)
    worker = sqlite_crash.start(processes=2, lease="10m")
    sqlite_crash.wait_for_mark(job.id, "begin")
    runners = worker.runners
    worker.kill_supervisor()
    gone(runners)
    assert len(runners) == 2


def test_a_job_that_swallows_its_cancellation_is_cancelled_by_force(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    job = swallow.enqueue(3)
    worker = crash.start()
    crash.wait_for_mark(job.id, "begin")
    job.cancel()
    crash.wait_for_mark(job.id, "swallowed")
    assert job.cancel(force=True) == "cancelled"
    wait_for(lambda: "taken over" in worker.log, "the refusal of its result")
    assert job.status().state == "cancelled"
    crash.check()


def _deaf_jobs_stopped(crash: Crash, *, grace: str, signals: int) -> tuple[list[ph.Job[str]], list[Process]]:
    jobs = [sleep_in_thread.enqueue(600), swallow.enqueue(600), swallow_in_thread.enqueue(600)]
    worker = crash.start(grace=grace)
    for job in jobs:
        crash.wait_for_mark(job.id, "begin")
    tree = worker.tree
    worker.send(signal.SIGTERM)
    if signals > 1:
        wait_for(lambda: "a second signal" in worker.log, "the first signal to be heard")
        worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    return jobs, tree


def _are_unspent(crash: Crash, jobs: list[ph.Job[str]]) -> None:
    for job in jobs:
        row = crash.row(job)
        assert (row.state, row.errors, row.crashes, row.interruptions) == ("pending", 0, 0, 0)
        assert crash.events(job) == ["released"]
    crash.check()
