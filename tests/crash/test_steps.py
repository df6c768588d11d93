"""Steps under SIGKILL: what was committed is never repeated, and each kill repeats at most the step that it struck."""

from __future__ import annotations

import pytest

import posthorse as ph
from tests.crash.application import stepping, stepping_async
from tests.crash.harness import Crash

SHORT, LONG = 8, 100


def numbers_of(crash: Crash, job: ph.Job[list[int]]) -> list[int]:
    return [effect.item for effect in crash.ledger.effects(job.id)]


@pytest.mark.parametrize("kind", [stepping, stepping_async], ids=["sync", "async"])
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)])
def test_a_job_killed_after_each_of_its_steps_repeats_none(
    crash: Crash, kind: ph.Kind[[int], list[int]], count: int
) -> None:
    job = kind.enqueue(count)
    crash.start(failpoint="after_step_commit:kill", lives=count)
    crash.drain([job], within=60.0 + 3 * count)
    assert (crash.directory / "lives").stat().st_size == 0, "it was not killed after each step"
    epochs = job.result()
    assert numbers_of(crash, job) == list(range(count))
    assert epochs == sorted(set(epochs)), "each step ran in an attempt of its own"
    assert crash.row(job).errors == 0
    crash.check()


@pytest.mark.parametrize("kind", [stepping, stepping_async], ids=["sync", "async"])
@pytest.mark.parametrize("lives", [SHORT // 2, pytest.param(LONG // 2, marks=pytest.mark.soak)])
def test_a_kill_before_the_commit_of_a_step_repeats_that_step_alone(
    crash: Crash, kind: ph.Kind[[int], list[int]], lives: int
) -> None:
    count = 2 * lives
    job = kind.enqueue(count)
    crash.start(
        failpoint="before_step_commit:kill:2", lives=lives
    )  # each process commits one step, and dies in the next
    crash.drain([job], within=60.0 + 3 * lives)
    assert (crash.directory / "lives").stat().st_size == 0
    assert len(job.result()) == count
    repeated = sorted([*range(count), *range(1, lives + 1)])
    assert numbers_of(crash, job) == repeated
    crash.check()
