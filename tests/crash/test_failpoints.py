"""F1: SIGKILL at every named point, again and again. Nothing is lost, nothing counts twice."""

from __future__ import annotations

import pytest

from tests.crash.application import add, exact, exact_async, fail_once, repeated, sleep_in_thread
from tests.crash.harness import SHORT_LEASE, Crash

COUNT, SIZE = 60, 5
SLICE_POINTS = ("in_slice", "before_slice_commit", "after_slice_commit")
JOB_POINTS = ("after_claim", "before_start", "before_completion", "after_completion")


@pytest.mark.parametrize(
    "point", [f"{point}:kill:4" for point in SLICE_POINTS] + [f"{point}:kill" for point in JOB_POINTS]
)
@pytest.mark.parametrize("lives", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_runner_killed_at_a_point_loses_nothing_and_repeats_nothing(crash: Crash, point: str, lives: int) -> None:
    jobs = [exact.enqueue(COUNT, SIZE, 0), exact_async.enqueue(COUNT, SIZE, 0)]
    repeating = repeated.enqueue(COUNT, SIZE, 0)
    crash.start(failpoint=point, lives=lives)
    crash.drain([*jobs, repeating])
    was_killed_as_planned(crash)
    for job in jobs:
        crash.check_exact(job, COUNT)
    crash.check_repeated(repeating, COUNT, SIZE)
    crash.check()


@pytest.mark.parametrize(
    ("point", "again"),
    [
        pytest.param("in_slice", 0, marks=pytest.mark.soak),
        ("before_slice_commit", 1),
        ("after_slice_commit", 0),
    ],
)
def test_what_was_acknowledged_is_not_done_again(crash: Crash, point: str, again: int) -> None:
    """Only the slice that was killed before its commit is repeated."""
    job = repeated.enqueue(COUNT, SIZE, 0)
    crash.start(failpoint=f"{point}:kill:8", lives=1)
    crash.drain([job])
    was_killed_as_planned(crash)
    crash.check_repeated(job, COUNT, SIZE)
    assert len(crash.ledger.effects(job.id)) == COUNT + again * SIZE
    crash.check()


@pytest.mark.parametrize("point", [pytest.param("before_settle", marks=pytest.mark.soak), "after_settle"])
def test_an_error_is_counted_once_however_its_runner_dies(crash: Crash, point: str) -> None:
    job = fail_once.enqueue()
    crash.start(failpoint=f"{point}:kill", lives=1)
    crash.drain([job])
    was_killed_as_planned(crash)
    assert job.result() == 2
    assert crash.row(job).errors == 1
    crash.check()


def test_jobs_on_their_way_back_into_line_survive_their_runner(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    quick = [add.enqueue(number, 1) for number in range(20)]
    slow = sleep_in_thread.enqueue(1.5)
    behind = [add.enqueue(number, 2) for number in range(20)]
    crash.start(concurrency=1, failpoint="before_give_back:kill", lives=1)
    crash.drain([*quick, slow, *behind])
    was_killed_as_planned(crash)
    assert [job.result() for job in behind] == [number + 2 for number in range(20)]
    assert not any(crash.row(job).errors or crash.row(job).crashes for job in behind)
    crash.check()


@pytest.mark.parametrize(
    "point",
    ["in_rescue", *(pytest.param(point, marks=pytest.mark.soak) for point in ("before_rescue", "before_rescue"))],
)
def test_a_supervisor_killed_while_it_buries_a_runner_loses_nothing(crash: Crash, point: str) -> None:
    jobs = [exact.enqueue(COUNT, SIZE, 0.02), exact_async.enqueue(COUNT, SIZE, 0.02)]
    first = crash.start(failpoint=f"{point}:kill", lives=1, lease=SHORT_LEASE)
    crash.wait_for_mark(jobs[0].id, "in")
    crash.kill(first.runners[0])
    assert first.wait() == -9
    crash.start(lease=SHORT_LEASE)
    crash.drain(jobs)
    was_killed_as_planned(crash)
    for job in jobs:
        crash.check_exact(job, COUNT)
        assert crash.row(job).crashes == 0
    crash.check()


def was_killed_as_planned(crash: Crash) -> None:
    assert (crash.directory / "lives").stat().st_size == 0, "no process was killed there"
