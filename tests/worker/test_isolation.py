"""Isolated jobs (F3, F11 to F14, F19, I15, I22): in children that can be killed, and of which nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

import posthorse as ph
from posthorse.rules.tuning import Tuning
from posthorse.worker.isolation import child_pool
from posthorse.worker.isolation.child_process import ChildProcess, start_child
from posthorse.worker.isolation.messages import ChildPlan
from tests.marked import MARKER, living
from tests.waiting import until, until_state
from tests.worker import isolated_jobs as jobs

Living = Callable[[], list[int]]


@pytest.fixture
def app(sqlite_url: str, tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> Iterator[ph.Posthorse]:
    jobs.app.use_url(sqlite_url)
    monkeypatch.setattr(jobs.app.store, "tuning", tuning)  # of this store alone: the module is imported once
    yield jobs.app
    jobs.app.close()


@pytest.fixture
def any_app(store_url: str) -> Iterator[ph.Posthorse]:
    jobs.app.use_url(store_url)
    yield jobs.app
    jobs.app.close()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Living:
    """Return a function that tells which processes live that children of this test are or started."""
    marker = str(uuid.uuid4())
    monkeypatch.setenv(MARKER, marker)
    return lambda: living(marker)


# ── running ──────────────────────────────────────────────────────────────────────────────────────────


def test_isolated_jobs_run_in_one_warm_child_whatever_their_colour(any_app: ph.Posthorse, left: Living) -> None:
    with any_app.worker():
        pids = {job.result(timeout=30) for job in (jobs.pid.enqueue(), jobs.pid.enqueue(), jobs.async_pid.enqueue(1))}
        first = jobs.pid.enqueue().result(timeout=30)
        assert jobs.async_pid.enqueue(1).result(timeout=30) == jobs.pid.enqueue().result(timeout=30) == first
        with pytest.raises(ph.JobFailed, match="of the job's own"):
            jobs.fail.using(max_attempts=1).enqueue().result(timeout=30)
        assert jobs.sliced.enqueue(35).result(timeout=30) == list(range(35))
        job = jobs.async_sliced.enqueue(35)
        assert job.result(timeout=30) == list(range(35))
        assert (job.status().progress.done, job.status().progress.total) == (35, 35)
    assert os.getpid() not in pids
    assert left() == []


def test_a_paused_job_goes_on_where_it_stopped_in_whichever_child(app: ph.Posthorse) -> None:
    with app.worker():
        job = jobs.slow_slices.enqueue(40)
        until(lambda: job.status().progress.done >= 3, what="the first slices")
        job.pause()
        status = until_state(job, "paused")
        assert 3 <= status.progress.done < 40
        job.resume()
        assert job.result(timeout=30) == 40
    assert (job.status().attempt, job.status().interruptions) == (1, 0)


@pytest.mark.tuning(max_jobs_of_child=2)
def test_a_child_is_replaced_after_so_many_jobs(app: ph.Posthorse) -> None:
    with app.worker(concurrency=1):
        pids = [jobs.pid.enqueue().result(timeout=30) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_child_that_died_while_it_was_idle_is_no_fault_of_the_next_job(app: ph.Posthorse, left: Living) -> None:
    with app.worker(concurrency=1):
        first = jobs.pid.enqueue().result(timeout=30)
        os.kill(first, signal.SIGKILL)
        until(lambda: left() == [], what="the end of the child and its reaper")
        job = jobs.pid.enqueue()
        assert job.result(timeout=30) != first
    assert (job.status().attempt, job.status().crashes) == (1, 0)


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "exit code 0"),
        ("segfault", "SIGSEGV"),
        pytest.param("abort", "SIGABRT", marks=pytest.mark.soak),
        pytest.param("SIGKILL", "SIGKILL", marks=pytest.mark.soak),
    ],
)
def test_the_death_of_a_child_is_a_crash_of_its_job_alone(app: ph.Posthorse, how: str, told: str) -> None:
    with app.worker():
        job = jobs.die.enqueue(how)
        assert jobs.add_in_thread.enqueue(1, 2).result(timeout=30) == 3
        with pytest.raises(ph.JobFailed, match=f"crashed its process 1 times.*{told}"):
            job.result(timeout=30)
        assert jobs.pid.enqueue().result(timeout=30) > 0
    assert (job.status().attempt, job.status().crashes) == (1, 1)


def test_a_job_that_crashes_its_child_again_is_a_dead_letter_and_was_no_suspect(any_app: ph.Posthorse) -> None:
    with any_app.worker():
        job = jobs.die_twice.enqueue()
        with pytest.raises(ph.JobFailed, match="crashed its process 2 times"):
            job.result(timeout=30)
    assert (job.status().crashes, job.status().interruptions) == (2, 0)


@pytest.mark.parametrize("text", ["\0\0\0\5words and words", "x" * 1000, "\xff" * 30])
def test_a_job_that_writes_into_the_channel_of_its_process_ends_alone(
    app: ph.Posthorse, left: Living, text: str
) -> None:
    with app.worker(concurrency=1):
        job = jobs.write_everywhere.enqueue(text)
        status = until_state(job, "failed")
        assert jobs.pid.enqueue().result(timeout=30) > 0
    assert (status.reason, status.crashes) == ("crashed", 1)
    assert "wrote into the channel of its process" in str(status.error)
    assert left() == []


def test_while_no_process_can_be_started_a_job_waits_and_loses_nothing(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    async def refused(plan: ChildPlan, folder: str | None) -> ChildProcess:
        tries.append(1)
        if len(tries) < 3:
            raise BlockingIOError("no more processes")
        return await start_child(plan, folder)

    monkeypatch.setattr(child_pool, "start_child", refused)
    with app.worker():
        job = jobs.pid.enqueue()
        assert job.result(timeout=30) > 0
    assert [attempt.outcome for attempt in job.attempts()] == ["lost", "lost", "completed"]
    ends = [attempt.finished_at for attempt in job.attempts() if attempt.finished_at]
    assert ends[2] - ends[1] >= timedelta(seconds=1)  # the cause persists, so the job waits
    assert job.status().attempt == 1


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_is_killed_after_its_kill_after_and_retried(app: ph.Posthorse) -> None:
    with app.worker():
        job = jobs.stuck_at_first.enqueue()
        assert job.result(timeout=30) == 2
    error = job.status().error
    assert error is not None
    assert str(error) == "KilledAfter: the job took longer than its kill_after of 0.5 s, and was killed"
    assert job.status().crashes == 0


@pytest.mark.parametrize("kind", ["async", "checkpoints", "deaf"])
def test_a_timeout_is_soft_and_backed_by_force(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind != "deaf":  # a job that obeys has all the time that a busy machine takes
        monkeypatch.setattr(app, "settings", structs.replace(app.settings, grace=60.0))
    with app.worker():
        job = (
            jobs.too_long_with_checkpoints.enqueue() if kind == "checkpoints" else jobs.too_long.enqueue(kind == "deaf")
        )
        with pytest.raises(ph.JobFailed, match=r"TimeoutError: the job took longer than its timeout of 0.3 s"):
            job.result(timeout=30)
    error = job.status().error
    assert error is not None
    assert (", and did not stop" in error.message) == (kind == "deaf")


def test_a_job_that_wants_too_much_memory_meets_a_memory_error(app: ph.Posthorse) -> None:
    with app.worker():
        job = jobs.fill_memory.enqueue()
        with pytest.raises(ph.JobFailed, match="MemoryError"):
            job.result(timeout=30)
    error = job.status().error
    assert error is not None
    assert "kept.append(bytearray" in (error.traceback or "")


def test_what_a_job_starts_counts_for_its_memory(app: ph.Posthorse, left: Living) -> None:
    with app.worker():
        job = jobs.fill_memory_below.enqueue()
        with pytest.raises(ph.JobFailed, match=r"those below held \d+(\.\d)? MB, more than its max_memory of 160 MB"):
            job.result(timeout=30)
        assert left() == []


# ── nothing is left ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["grandchild", "daemon", "zombie", "thousand", "bomb"])
def test_nothing_is_left_of_a_job_that_ended(app: ph.Posthorse, left: Living, tmp_path: Path, what: str) -> None:
    with app.worker(concurrency=1):
        jobs.leave_behind.enqueue(what, str(tmp_path / "begun")).result(timeout=30)
        assert left() == []
        assert jobs.pid.enqueue().result(timeout=30) > 0
    assert left() == []


@pytest.mark.parametrize("what", ["daemon", "bomb"])
def test_nothing_is_left_of_a_job_whose_lease_was_taken_away(
    app: ph.Posthorse, left: Living, tmp_path: Path, what: str
) -> None:
    with app.worker():
        job = jobs.start_and_wait.enqueue(what, str(tmp_path / "begun"))
        until((tmp_path / "begun").exists, what="its processes")
        until(lambda: len(left()) > 2, what="several of its processes")
        assert job.cancel(force=True) == "cancelled"
        until(lambda: left() == [], what="the end of all, which would go on for ten minutes")
    assert job.status().state == "cancelled"


# ── who does not listen ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [jobs.deaf, jobs.async_deaf])
def test_a_cancelled_job_that_does_not_listen_is_killed(
    app: ph.Posthorse, left: Living, tmp_path: Path, kind: ph.Kind[[str], None]
) -> None:
    with app.worker():
        job = kind.enqueue(str(tmp_path / "begun"))
        until((tmp_path / "begun").exists, what="the job")
        job.cancel()
        until_state(job, "cancelled")
        assert left() == []


@pytest.mark.parametrize("kind", [jobs.deaf, jobs.async_deaf])
def test_a_stopping_worker_kills_what_does_not_listen_and_gives_it_back_unspent(
    app: ph.Posthorse, left: Living, tmp_path: Path, kind: ph.Kind[[str], None]
) -> None:
    with app.worker():
        job = kind.enqueue(str(tmp_path / "begun"))
        until((tmp_path / "begun").exists, what="the job")
    assert left() == []
    status = job.status()
    assert (status.state, status.attempt, status.crashes, status.interruptions) == ("pending", 1, 0, 0)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_deaf_job_on_the_loop_counts_as_cancelled_and_its_worker_goes_on(
    app: ph.Posthorse, tmp_path: Path, concurrency: int
) -> None:
    with app.worker(concurrency=concurrency):
        job = jobs.deaf_on_the_loop.enqueue(str(tmp_path / "begun"), str(tmp_path / "until"))
        until((tmp_path / "begun").exists, what="the job")
        job.cancel()
        until_state(job, "cancelled")
        later = jobs.add_in_thread.enqueue(1, 2)
        if concurrency == 1:  # its place is free when its code ends
            (tmp_path / "until").touch()
        assert later.result(timeout=30) == 3
        (tmp_path / "until").touch()
    assert job.status().state == "cancelled"


# ── where children find the code ─────────────────────────────────────────────────────────────────────


def test_a_job_that_no_other_process_can_find_is_told_so(sqlite_url: str) -> None:
    local = ph.Posthorse(sqlite_url)

    @local.job(isolation="process")
    def hidden() -> None: ...

    with local.worker():
        job = hidden.enqueue()
        status = until_state(job, "blocked")
        assert "declare it at the top of a module" in str(status.reason)
    local.close()


SCRIPT = """
import os, sys, time
import posthorse as ph

app = ph.Posthorse(sys.argv[1], lease="6s")

@app.job(isolation="process")
def pid() -> int:
    return os.getpid()
"""
MAIN = """
with app.worker():
    job = pid.enqueue()
    while job.status().state in ("pending", "processing"):
        time.sleep(0.02)
    print(job.status().reason or job.result(timeout=1) != os.getpid())
"""


@pytest.mark.parametrize(
    ("main", "told"),
    [
        ('if __name__ == "__main__":' + MAIN.replace("\n", "\n    "), "True"),
        (MAIN, 'put the worker under if __name__ == "__main__":'),
    ],
    ids=["guarded", "unguarded"],
)
def test_jobs_of_a_script_run_in_children_that_do_not_run_its_main_part(
    sqlite_url: str, tmp_path: Path, main: str, told: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + main, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script), sqlite_url], cwd=tmp_path, capture_output=True, text=True, timeout=80, check=False
    )
    assert told in ran.stdout, ran.stderr


# ── what cannot be kept ──────────────────────────────────────────────────────────────────────────────


def test_limits_that_nothing_could_keep_are_refused() -> None:
    app = ph.Posthorse("sqlite:///never.db")
    with pytest.raises(ph.InvalidOption, match=r"kill_after: it runs in a thread .* add isolation"):

        @app.job(kill_after="1m")
        def one() -> None: ...

    with pytest.raises(ph.InvalidOption, match=r"max_memory: it runs on the loop .* add isolation"):

        @app.job(max_memory="1GB")
        async def two() -> None: ...

    with pytest.raises(ph.InvalidOption, match="use kill_after, which ends its process"):

        @app.job(isolation="process", timeout="1m")
        def three() -> None: ...

    with pytest.raises(ph.InvalidOption, match='it must be "process"'):
        app.job(isolation="thread")  # type: ignore[call-overload]  # refused
    with pytest.raises(ph.InvalidOption, match="64 MB at least"):
        app.job(isolation="process", max_memory="1MB")
    with pytest.raises(ph.InvalidOption, match="kill_after must be longer than zero"):
        app.job(isolation="process", kill_after=0)
