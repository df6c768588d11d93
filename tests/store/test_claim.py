"""Claims, on every store: order, fairness between lanes, and which runners get nothing."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import Lane, State
from posthorse.store.operations import claim, runners
from posthorse.store.operations.fence import Fence
from posthorse.store.sqlite.backend import SqliteBackend
from tests.store.yard import HOME, LEASE, Yard

pytestmark = pytest.mark.all_postgres

OTHER = Lane("default", "other")
URGENT = Lane("default", "work", 10)


def test_first_come_first_served(yard: Yard) -> None:
    jobs = [yard.enqueue()[0] for _ in range(5)]
    runner = yard.runner()
    assert [job.job for job in yard.claim(runner, 3) + yard.claim(runner, 9)] == jobs


def test_claim_takes_no_more_than_there_is_room_for(yard: Yard) -> None:
    yard.enqueue(7)
    runner = yard.runner()
    assert [len(yard.claim(runner, 3)) for _ in range(4)] == [3, 3, 1, 0]
    yard.audit()


def test_claimed_job_brings_all_that_a_runner_needs(yard: Yard) -> None:
    [job] = yard.new(arguments='{"week":"47"}')
    yard.submit([job])
    [claimed] = yard.claim(yard.runner())
    assert (claimed.job, claimed.epoch, claimed.arguments) == (job.id, 1, '{"week":"47"}')
    assert claimed.lane == yard.probe().lane
    assert (claimed.errors, claimed.crashes, claimed.interruptions, claimed.options, claimed.run_at) == (
        0,
        0,
        0,
        None,
        None,
    )
    assert yard.state(job.id) is State.PROCESSING
    assert yard.job(job.id).worker == "worker-1"


def test_kinds_share_the_line_in_the_order_of_arrival(yard: Yard) -> None:
    jobs = [yard.enqueue(1, lane)[0] for lane in (HOME, OTHER, HOME, OTHER, OTHER, HOME)]
    runner = yard.runner()
    claimed = yard.claim(runner, 4, [HOME, OTHER]) + yard.claim(runner, 4, [HOME, OTHER])
    assert [job.job for job in claimed] == jobs


def test_higher_priority_goes_first(yard: Yard) -> None:
    low = yard.enqueue(3)
    high = yard.enqueue(2, URGENT)
    claimed = yard.claim(yard.runner(), 4, [HOME, URGENT])
    assert [job.job for job in claimed] == [*high, *low[:2]]


LANES = [Lane(f"queue {number}", "work", priority) for priority in (9, 0, -5, -6) for number in range(4)]


@pytest.mark.parametrize("rooms", [[1] * 20, [3, 8, 2, 30], [5, 12, 1, 50], [100]])
def test_jobs_of_many_lanes_come_by_priority_and_then_by_their_places(yard: Yard, rooms: list[int]) -> None:
    turns = [LANES[(number * number + number // 7) % len(LANES)] for number in range(60)]
    lanes = {yard.enqueue(1, lane)[0]: lane for lane in turns}
    places = list(lanes)
    runner = yard.runner()
    claimed: list[str] = []
    for room in rooms:
        jobs = yard.claim(runner, room, LANES)
        assert len(jobs) == min(room, len(lanes) - len(claimed))
        claimed += [job.job for job in jobs]
    expected = sorted(lanes, key=lambda job: (-lanes[job].priority, places.index(job)))
    assert claimed == expected[: len(claimed)]
    yard.audit()


@pytest.mark.parametrize("rooms", [[7, 30, 100], [45, 2, 90]])
def test_jobs_of_deep_lanes_and_shallow_ones_come_in_the_order_of_arrival(yard: Yard, rooms: list[int]) -> None:
    chance, lanes = random.Random(7), [Lane(f"queue {number}", "work") for number in range(20)]
    old, mixed, late = [lanes[0]] * 30, chance.choices(lanes, [1] * 15 + [30] * 5, k=60), [lanes[1]] * 40
    jobs = [job for lane in (*old, *mixed, *late) for job in yard.new(1, lane)]
    yard.submit(jobs)
    runner = yard.runner()
    claimed = [job.job for room in rooms for job in yard.claim(runner, room, lanes)]
    assert claimed == [job.id for job in jobs]
    yard.audit()


def test_a_claim_from_many_lanes_costs_no_more_where_they_are_deep(sqlite_yard: Yard) -> None:
    lanes = [Lane(f"queue {number}", "work") for number in range(40)]
    runner = sqlite_yard.runner()

    def steps_of_a_claim(depth: int) -> int:
        sqlite_yard.submit([job for _ in range(depth) for lane in lanes for job in sqlite_yard.new(1, lane)])
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        backend = sqlite_yard.store.backend
        assert isinstance(backend, SqliteBackend)
        writer = backend._writer  # pyright: ignore[reportPrivateUsage]
        assert writer is not None
        writer.connection.set_progress_handler(count, 10)
        assert len(sqlite_yard.claim(runner, 40, lanes)) == 40
        writer.connection.set_progress_handler(None, 0)
        return steps

    shallow = steps_of_a_claim(2)
    assert steps_of_a_claim(50) < 1.2 * shallow


def test_no_more_is_claimed_than_there_is_room_for_where_lanes_have_jobs_at_one_place(sqlite_yard: Yard) -> None:
    lanes = LANES[:4]
    for lane in lanes:
        sqlite_yard.enqueue(3, lane)
    with sqlite_yard.store.transaction() as connection:
        for table in ("ready", "jobs"):
            cast("Any", connection).execute(
                f"UPDATE posthorse_{table} AS t SET seq = "
                f"(SELECT count(*) FROM posthorse_{table} WHERE lane = t.lane AND seq < t.seq) + 1"
            )
    runner = sqlite_yard.runner()
    claims = [sqlite_yard.claim(runner, room, lanes) for room in (1, 2, 3, 5, 9)]
    assert [len(jobs) for jobs in claims] == [1, 2, 3, 5, 1]
    assert [job.seq for jobs in claims for job in jobs] == [1] * 4 + [2] * 4 + [3] * 4
    sqlite_yard.audit()


def test_lower_priorities_give_what_the_highest_has_no_more(yard: Yard) -> None:
    high, middle, low = yard.enqueue(1, LANES[0]), yard.enqueue(2, LANES[4]), yard.enqueue(3, LANES[12])
    claimed = yard.claim(yard.runner(), 5, [LANES[12], LANES[8], LANES[0], LANES[4]])
    assert [job.job for job in claimed] == [*high, *middle, *low[:2]]


def test_a_look_tells_which_lanes_hold_jobs(yard: Yard) -> None:
    yard.enqueue(3)
    first, *_ = yard.claim(yard.runner(), 1)
    home, other = yard.probe(), yard.probe(OTHER)
    assert yard.store.read(claim.lanes_with_jobs([home, other])) == {home.lane}
    assert yard.store.read(claim.lanes_with_jobs([home._replace(after=first.seq + 10**6), other])) == set()


def test_lanes_that_are_not_asked_for_are_left_alone(yard: Yard) -> None:
    yard.enqueue(2, OTHER)
    assert yard.claim(yard.runner(), 5) == []
    assert yard.waiting() == 2


def test_solo_lane_is_a_lane_of_its_own(yard: Yard) -> None:
    solo = Lane("default", "work", solo=True)
    [suspect], [plain] = yard.enqueue(1, solo), yard.enqueue()
    assert yard.claim_one().job == plain
    assert yard.claim_one(lane=solo).job == suspect
    assert yard.store.read(claim.news(0)).lanes[0][1].solo


def test_new_lanes_are_found_by_number(yard: Yard) -> None:
    known = yard.probe().lane
    number = yard.probe(URGENT).lane
    assert yard.store.read(claim.news(known)).lanes == [(number, URGENT)]


def test_missing_runner_gets_nothing(yard: Yard) -> None:
    yard.enqueue()
    assert yard.claim("00000000-0000-4000-8000-000000000000") == []
    yard.audit()


@pytest.mark.parametrize("lanes", [[HOME], [HOME, OTHER]])
def test_runner_whose_lease_ran_out_gets_nothing(yard: Yard, lanes: list[Lane]) -> None:
    yard.enqueue()
    runner = yard.runner()
    yard.pass_time(seconds=31)
    assert yard.claim(runner, 1, lanes) == []
    yard.store.run(runners.beat(runner, lease=LEASE, running=0, draining=False))
    assert len(yard.claim(runner, 1, lanes)) == 1


def test_retired_runner_gets_nothing(yard: Yard) -> None:
    yard.enqueue()
    runner = yard.runner()
    yard.store.run(runners.retire(runner))
    assert yard.claim(runner) == []


def test_low_water_mark_skips_what_is_before_it(yard: Yard) -> None:
    yard.enqueue(3)
    runner = yard.runner()
    first, *_ = yard.claim(runner, 1)
    assert [job.seq > first.seq for job in yard.claim(runner, 1, after=first.seq)] == [True]
    last = yard.claim(runner, 1)[0]
    assert yard.claim(runner, 1, after=last.seq) == []
    yard.enqueue()
    assert len(yard.claim(runner, 1, [HOME, OTHER], after=last.seq)) == 1


def test_epoch_rises_with_every_claim(yard: Yard) -> None:
    [job] = yard.enqueue()
    for epoch in (1, 2, 3):
        attempt = yard.claim_one()
        assert attempt[:2] == (job, epoch)
        yard.give_back(attempt)


def test_given_back_jobs_keep_their_places_and_spend_nothing(yard: Yard) -> None:
    jobs = yard.enqueue(4)
    runner = yard.runner()
    held = yard.claim(runner, 3)
    yard.give_back(*(Fence(job.job, job.epoch, runner) for job in held[1:]))
    yard.audit()
    again = yard.claim(runner, 9)
    assert [job.job for job in again] == jobs[1:]
    assert [(job.errors, job.crashes, job.interruptions) for job in again] == [(0, 0, 0)] * 3


def test_giving_back_with_a_stale_fence_changes_nothing(yard: Yard) -> None:
    attempt = yard.started()
    yard.give_back(attempt._replace(epoch=attempt.epoch + 1))
    yard.give_back(attempt._replace(runner=yard.runner()))
    assert yard.state(attempt.job) is State.PROCESSING
    yard.ask(attempt.job, "pause")
    yard.give_back(attempt._replace(epoch=attempt.epoch - 1))
    assert yard.store.read(runners.requests_for(attempt.runner)).of_jobs == {attempt.job: "pause"}
    assert yard.complete(attempt) == []


@pytest.mark.parametrize(("action", "state"), [("pause", State.PAUSED), ("cancel", State.CANCELLED)])
def test_what_was_asked_of_a_given_back_job_is_done(yard: Yard, action: str, state: State) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause" if action == "pause" else "cancel")
    yard.give_back(attempt)
    assert yard.state(attempt.job) is state
    assert yard.waiting() == 0
    yard.audit()


def test_idle_flag_and_next_look_do_not_disturb_a_claim(yard: Yard) -> None:
    runner = yard.runner()
    yard.store.run(runners.set_idle(runner, idle=True))
    yard.enqueue(1)
    yard.enqueue(1, delay=-SECOND)
    yard.store.run(runners.set_idle(runner, idle=False))
    assert len(yard.claim(runner, 5)) == 2
