"""Runs of one job in a process of its own: claimed in whatever state it is, and found by its key until it is over."""

from __future__ import annotations

import pytest

from posthorse.clock import SECOND
from posthorse.errors import JobNotFound, KeyConflict
from posthorse.rules.job import NewJob, State
from posthorse.store.operations import read
from posthorse.store.operations.runs import claim_one, enqueue_anew
from posthorse.store.operations.submit import SubmitResult
from tests.store.yard import HOME, Yard

pytestmark = pytest.mark.all_postgres

GHOST = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def anew(yard: Yard, job: NewJob) -> SubmitResult:
    return yard.store.run(enqueue_anew(job, yard.store.lanes({HOME})))


def test_this_very_job_is_claimed_and_its_neighbours_stay(yard: Yard) -> None:
    first, wanted, last = yard.enqueue(3)
    runner = yard.runner()
    [claimed] = yard.store.run(claim_one(runner, wanted, early=False))
    assert (claimed.job, claimed.epoch, claimed.arguments) == (wanted, 1, "{}")
    assert yard.job(wanted).state == State.PROCESSING
    assert yard.store.run(claim_one(runner, wanted, early=True)) == []
    assert [job.job for job in yard.claim(yard.runner(), 5)] == [first, last]


def test_job_waits_for_its_time_unless_it_is_claimed_early(yard: Yard) -> None:
    [job] = yard.enqueue(delay=60 * SECOND)
    runner = yard.runner()
    assert yard.store.run(claim_one(runner, job, early=False)) == []
    [claimed] = yard.store.run(claim_one(runner, job, early=True))
    assert (claimed.job, claimed.run_at) == (job, None)
    assert yard.store.read(read.parked_counts()) == {}


def test_only_living_runners_claim_and_only_what_may_run(yard: Yard) -> None:
    [job] = yard.enqueue()
    assert yard.store.run(claim_one(GHOST, job, early=True)) == []
    assert yard.job(job).state == State.PENDING
    yard.ask(job, "pause")
    runner = yard.runner()
    assert yard.store.run(claim_one(runner, job, early=True)) == []
    with pytest.raises(JobNotFound):
        yard.store.run(claim_one(runner, GHOST, early=True))


def test_key_gives_the_same_job_until_that_is_over(yard: Yard) -> None:
    [first], [second], [third] = (yard.new(key="nightly") for _ in range(3))
    assert anew(yard, first) == (first.id, True)
    assert anew(yard, second) == (first.id, False)
    with pytest.raises(KeyConflict):
        anew(yard, yard.new(key="nightly", arguments='{"n":1}')[0])
    yard.ask(first.id, "cancel")
    assert anew(yard, third) == (third.id, True)
    assert anew(yard, yard.new(key="nightly")[0]) == (third.id, False)


def test_holder_of_a_job_is_told(yard: Yard) -> None:
    [job] = yard.enqueue()
    assert yard.store.read(read.holder(job)) is None
    yard.store.run(claim_one(yard.runner(), job, early=False))
    holder = yard.store.read(read.holder(job))
    assert holder is not None
    assert (holder.worker, holder.pid) == ("worker-1", 4711)


def test_jobs_are_read_in_the_order_of_their_ids(yard: Yard) -> None:
    running = yard.started().job
    [later] = yard.enqueue(delay=60 * SECOND)
    assert [row.id for row in yard.store.read(read.jobs_by_id([later, GHOST, running]))] == [later, running]
