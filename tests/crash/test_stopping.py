"""F2, F4 to F7, F19: how a worker ends, and how its runners follow it."""

from __future__ import annotations

import signal

import posthorse as ph
from tests.crash.application import exact, sleep_in_thread, swallow, swallow_in_thread
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
