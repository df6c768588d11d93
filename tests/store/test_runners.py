"""Runners, their leases, and the sweeps that clean up behind them, on every store."""

from __future__ import annotations

import time

import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Spent
from posthorse.rules.outcomes import Lost
from posthorse.store.operations import read, runners
from posthorse.store.operations.fence import Fence
from tests.store.yard import LEASE, Yard

pytestmark = pytest.mark.all_postgres


def beat(yard: Yard, runner: str) -> bool:
    return yard.store.run(runners.beat(runner, lease=LEASE, running=2, draining=True)).is_alive


def test_registered_runner_is_on_the_list(yard: Yard) -> None:
    runner = yard.runner(kinds=["work", 'é, "x"'])
    [row] = yard.store.read(read.workers())
    assert (row.id, row.worker, row.host, row.pid, row.concurrency) == (runner, "worker-1", "here", 4711, 10)
    assert (row.queues, row.kinds) == (["default"], ["work", 'é, "x"'])
    assert (row.is_idle, row.is_draining, row.running) == (False, False, 0)
    assert row.silent_for < 5 * SECOND


def test_registering_again_after_a_lost_reply_changes_nothing(yard: Yard) -> None:
    runner = runners.Runner("01936f5e-7c1a-7d2b-8e3f-0123456789ab", "w", "h", 1, "0", 1, [], [])
    for _ in range(2):
        yard.store.run(runners.register(runner, lease=LEASE))
    assert len(yard.store.read(read.workers())) == 1


def test_beat_renews_the_lease_and_says_how_it_goes(yard: Yard) -> None:
    runner = yard.runner()
    yard.store.run(runners.set_idle(runner, idle=True))
    for _ in range(3):
        yard.pass_time(seconds=20)
        assert beat(yard, runner)
    assert yard.rescue_expired() == []
    [row] = yard.store.read(read.workers())
    assert (row.running, row.is_draining, row.is_idle) == (2, True, True)


def test_runner_that_did_not_beat_is_buried_and_told_so(yard: Yard) -> None:
    dead, alive = yard.runner(), yard.runner()
    yard.pass_time(seconds=20)
    beat(yard, alive)
    yard.pass_time(seconds=11)
    assert yard.store.run(runners.rescue_expired(grace=5 * SECOND)) == []
    assert yard.rescue_expired() == [dead]
    assert not beat(yard, dead)
    assert beat(yard, alive)


def test_runner_of_an_earlier_boot_is_buried(sqlite_yard: Yard) -> None:
    runner = sqlite_yard.runner()
    sqlite_yard.store.clock.boot = "another boot"
    assert not beat(sqlite_yard, runner)
    assert sqlite_yard.rescue_expired() == [runner]


def test_jobs_of_a_missing_runner_are_orphans(yard: Yard) -> None:
    attempt, kept = yard.started(), yard.started()
    runner = next(row.id for row in yard.store.read(read.workers()) if held(yard, row.id) == [attempt])
    yard.store.run(runners.retire(runner))
    [orphan] = yard.store.read(runners.orphans(10))
    assert orphan == (attempt.job, 1, runner, Lane("default", "work"), Spent())
    assert yard.settle(Fence(orphan.job, orphan.epoch, orphan.runner), Lost("gone"))
    assert yard.store.read(runners.orphans(10)) == []
    assert yard.complete(attempt) == [attempt.job]
    assert yard.complete(kept) == []
    yard.audit()


def test_rescued_twice_counts_once(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.settle(attempt, Lost("gone"))
    heir = yard.claim_one()
    assert yard.settle(attempt, Lost("gone"))  # as it was reported before
    assert yard.job(heir.job).interruptions == 1
    assert yard.events(heir.job) == ["lost"]
    assert yard.complete(heir) == []


def test_lease_of_a_late_worker_ends_with_its_runner(yard: Yard) -> None:
    attempt = yard.started()
    yard.pass_time(seconds=31)
    assert len(yard.rescue_expired()) == 1
    # The job has not been rescued yet: its worker is late, but not too late.
    assert yard.complete(attempt) == []


def test_orphans_come_in_parts(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(5)
    yard.claim(runner, 5)
    assert len(yard.store.read(runners.held_by(runner))) == 5
    yard.store.run(runners.retire(runner))
    assert len(yard.store.read(runners.orphans(3))) == 3


def test_duty_is_done_by_one_until_it_is_left_or_runs_out(yard: Yard) -> None:
    def take(holder: str) -> bool:
        return yard.store.run(runners.take_leadership("sweep", holder, span=10 * SECOND))

    assert take("a")
    assert not take("b")
    assert take("a")
    yard.pass_time(seconds=11)
    assert take("b")
    assert not take("a")
    yard.store.run(runners.leave_leadership("sweep", "a"))
    assert not take("a")
    yard.store.run(runners.leave_leadership("sweep", "b"))
    assert take("a")


def held(yard: Yard, runner: str) -> list[Fence]:
    return [Fence(held.job, held.epoch, held.runner) for held in yard.store.read(runners.held_by(runner))]


def test_a_burial_whose_turn_comes_late_buries_nobody(yard: Yard) -> None:
    """What delayed it may have delayed their heartbeats."""
    runner = yard.runner()
    yard.pass_time(minutes=5)
    assert yard.store.run(runners.rescue_expired(grace=0, until=time.monotonic() - 0.001)) == []
    assert [row.id for row in yard.store.read(read.workers())] == [runner]
    assert [id for id, _ in yard.store.run(runners.rescue_expired(grace=0, until=time.monotonic() + 3600))] == [runner]


def test_only_a_committed_slice_clears_what_a_job_has_spent_and_mere_progress_does_not(yard: Yard) -> None:
    spent = Spent(errors=1, crashes=1, interruptions=1)
    told, advanced = yard.started(), yard.started()
    for attempt in (told, advanced):
        yard.settle(attempt, Lost("gone"), spent=Spent(errors=1, crashes=1))
    yard.pass_time(hours=2)
    yard.promote()
    first, second = yard.claim_one(), yard.claim_one()
    yard.checkpoint(first, is_slice=False)
    yard.checkpoint(second, is_slice=False)
    yard.checkpoint(second)
    yard.checkpoint(second, 2, is_slice=False)
    held = {held.job: held.spent for each in (first, second) for held in yard.store.read(runners.held_by(each.runner))}
    assert held == {first.job: spent, second.job: Spent(errors=1)}
    for attempt in (first, second):
        yard.store.run(runners.retire(attempt.runner))
    assert {held.job: held.spent for held in yard.store.read(runners.orphans(10))} == held


def test_an_earlier_attempt_of_the_same_runner_is_not_held_any_more(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(2)
    first, other = yard.claim(runner, 2)
    yard.give_back(Fence(first.job, first.epoch, runner))
    [again] = yard.claim(runner)
    assert again.job == first.job
    looked_at = [(each.job, each.epoch) for each in (first, other)]
    assert yard.store.read(runners.still_held(runner, looked_at)) == {other.job}
    assert yard.store.read(runners.still_held(yard.runner(), looked_at)) == set()
    assert yard.store.read(runners.still_held(runner, [(again.job, again.epoch)])) == {again.job}
