"""The columns that each step of a job's life writes in its row, and those that it leaves as they were."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import Policy, Spent
from posthorse.rules.outcomes import Crashed, Lost, Raised, Snoozed
from posthorse.rules.packing import PLAIN_TEXTS
from posthorse.rules.retry import Backoff
from posthorse.store.operations import read
from posthorse.store.operations.fence import Fence
from tests.store.yard import Yard

pytestmark = pytest.mark.all_postgres

AT_ONCE = Policy(backoff=Backoff(base=0, limit=0), max_attempts=3)


class Row(NamedTuple):
    """A part of a job's row; moments are full minutes since it was enqueued."""

    state: str
    reason: str | None
    error: str | None
    spent: tuple[int, int, int]
    run_at: int | None
    started_at: int | None
    finished_at: int | None


def row_of(yard: Yard, id: str) -> Row:
    job = yard.job(id)

    def since(moment: int | None) -> int | None:
        return None if moment is None else (moment - job.created_at) // 60_000_000

    error = None if job.error is None else PLAIN_TEXTS.error_in(job.error).message
    spent = job.errors, job.crashes, job.interruptions
    return Row(job.state, job.reason, error, spent, *map(since, (job.run_at, job.started_at, job.finished_at)))


def next_attempt(yard: Yard, minutes: int = 1) -> Fence:
    """Claim the only job, this many minutes later."""
    yard.pass_time(minutes=minutes)
    yard.promote()
    return yard.claim_one()


def test_a_job_that_fails_and_then_completes(yard: Yard) -> None:
    [job] = yard.enqueue(1)
    assert row_of(yard, job) == Row("pending", None, None, (0, 0, 0), None, None, None)
    yard.settle(next_attempt(yard), Raised(JobError("E", "first")), policy=AT_ONCE)
    assert row_of(yard, job) == Row("pending", "attempt 1 of 3 failed", "first", (1, 0, 0), None, 1, None)
    yard.settle(next_attempt(yard), Snoozed(60_000_000, "later"), spent=Spent(errors=1))
    assert row_of(yard, job) == Row("scheduled", "later", "first", (1, 0, 0), 3, 1, None)
    yard.settle(next_attempt(yard), Raised(JobError("E", "second")), spent=Spent(errors=1), policy=AT_ONCE)
    assert row_of(yard, job) == Row("pending", "attempt 2 of 3 failed", "second", (2, 0, 0), 3, 1, None)
    yard.complete(next_attempt(yard), result="7")
    assert row_of(yard, job) == Row("completed", None, "second", (2, 0, 0), 3, 1, 4)
    assert yard.job(job).completed_by == "worker-1"
    outcome = yard.store.read(read.outcome(job))
    assert outcome is not None
    assert (outcome.state, outcome.result, outcome.reason) == ("completed", "7", None)


def test_a_job_that_dies_is_retried_and_completes(yard: Yard) -> None:
    [job] = yard.enqueue(1)
    yard.settle(next_attempt(yard), Lost("gone"), spent=Spent(crashes=1))
    before = row_of(yard, job)
    assert (before.reason, before.spent, before.started_at) == ("gone", (0, 1, 1), 1)
    died = next_attempt(yard, 60)
    yard.settle(died, Raised(JobError("E", "no")), spent=Spent(0, 1, 1), policy=Policy(max_attempts=1))
    assert row_of(yard, job) == Row("failed", "failed in 1 attempt", "no", (1, 1, 1), before.run_at, 1, 61)
    assert yard.job(job).completed_by is None
    yard.ask(job, "retry")
    assert row_of(yard, job) == Row("pending", None, "no", (0, 0, 0), None, 1, None)
    yard.complete(next_attempt(yard))
    assert row_of(yard, job) == Row("completed", None, "no", (0, 0, 0), None, 1, 62)


def test_a_job_that_is_paused_resumed_and_cancelled(yard: Yard) -> None:
    [job] = yard.enqueue(1, delay=3_600_000_000)
    assert row_of(yard, job) == Row("scheduled", None, None, (0, 0, 0), 60, None, None)
    yard.ask(job, "pause")
    assert row_of(yard, job) == Row("paused", "paused on request", None, (0, 0, 0), 60, None, None)
    yard.ask(job, "resume")
    assert row_of(yard, job) == Row("scheduled", None, None, (0, 0, 0), 60, None, None)
    yard.pass_time(minutes=1)
    yard.ask(job, "cancel")
    assert row_of(yard, job) == Row("cancelled", "cancelled on request", None, (0, 0, 0), 60, None, 1)
    yard.ask(job, "retry")  # it never started: its time to expire counts from now
    assert row_of(yard, job) == Row("pending", None, None, (0, 0, 0), 1, None, None)


def test_a_suspect_that_completes(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Crashed("signal 9", alone=True))
    row = row_of(yard, attempt.job)
    assert (row.state, row.reason, row.spent) == (State.PENDING.value, "signal 9", (0, 1, 0))
