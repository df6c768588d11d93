"""Queues in the store: live settings, turns at the claim, the newest first, and how deep a queue is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any, cast

import pytest

from posthorse.errors import QueueFull
from posthorse.rules.fair_share import FairShares, Line, Passes, after_turns
from posthorse.rules.job import Lane, NewJob, State
from posthorse.rules.queue_depth import Gauge
from posthorse.store.operations import by_fair_share, claim, queues, submit
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.fence import Fence
from tests.store.yard import Yard

MAIL, REPORTS = Lane("mail", "work"), Lane("reports", "work")


def change(yard: Yard, name: str, **layer: object) -> None:
    yard.store.run(queues.change_queue(name, layer))


def changes(yard: Yard) -> int:
    return yard.store.read(claim.news(0)).changes


class Turns:
    """A runner that claims by turns."""

    def __init__(self, yard: Yard, lanes: Sequence[Lane], weights: dict[str, int], stacks: Sequence[str] = ()) -> None:
        self.yard, self.runner, self.weights, self.passes = yard, yard.runner(), weights, Passes()
        self.probes = [yard.probe(lane) for lane in lanes]
        self.queue = {probe.lane: lane.queue for probe, lane in zip(self.probes, lanes, strict=True)}
        self.lines = {
            probe.lane: Line(self.queue[probe.lane], probe.priority, self.queue[probe.lane] in stacks)
            for probe in self.probes
        }

    def claim(self, room: int) -> list[Claimed]:
        turns = FairShares(self.lines, self.weights, self.passes)
        operation = by_fair_share.claim_by_fair_share(self.runner, self.probes, room, turns)
        claimed, waiting = self.yard.store.run(operation)
        lines = {lane: self.lines[lane] for lane in waiting}
        self.passes = after_turns([job.lane for job in claimed], lines, self.weights, self.passes)
        return claimed


def test_what_is_said_live_adds_up_until_it_is_taken_back(yard: Yard) -> None:
    before = changes(yard)
    change(yard, "mail", weight=3)
    change(yard, "mail", paused=True)
    change(yard, "other", max_depth=5)
    assert yard.store.read(queues.live_layers()) == {"mail": {"weight": 3, "paused": True}, "other": {"max_depth": 5}}
    yard.store.run(queues.reset_queue("mail", ["paused"]))
    assert yard.store.read(queues.live_layers())["mail"] == {"weight": 3}
    yard.store.run(queues.reset_queue("mail", []))
    assert yard.store.read(queues.live_layers()) == {"other": {"max_depth": 5}}
    assert changes(yard) == before + 5


def test_changes_at_the_same_moment_are_all_kept(yard: Yard) -> None:
    before = changes(yard)
    words: list[dict[str, object]] = [{"weight": 2}, {"max_depth": 3}, {"order": "lifo"}, {"paused": True}]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda word: change(yard, "mail", **word), words))
    assert yard.store.read(queues.live_layers())["mail"] == {k: v for word in words for k, v in word.items()}
    assert changes(yard) == before + 4


def test_news_tell_the_lanes_and_the_clock(yard: Yard) -> None:
    nothing = yard.store.read(claim.news(2**31 - 1))
    assert nothing.lanes == []
    assert nothing.now > 0
    number = yard.probe(MAIL).lane
    assert (number, MAIL) in yard.store.read(claim.news(number - 1)).lanes


@pytest.mark.all_postgres
def test_queues_share_exactly_by_weight(yard: Yard) -> None:
    yard.enqueue(60, REPORTS)
    yard.enqueue(60, MAIL)
    turns = Turns(yard, [MAIL, REPORTS], {"mail": 3, "reports": 1})
    shares = Counter(turns.queue[job.lane] for room in (1, 2, 5, 8, 24) for job in turns.claim(room))
    assert shares == {"mail": 30, "reports": 10}
    rest = [turns.queue[job.lane] for job in turns.claim(200)]
    assert rest[-20:] == ["reports"] * 20, "an empty queue leaves its turns to the others"
    assert len(rest) == 80
    yard.audit()


@pytest.mark.all_postgres
def test_a_stack_is_claimed_from_its_newest_job(yard: Yard) -> None:
    jobs = yard.enqueue(3, MAIL) + yard.enqueue(2, Lane("mail", "work", 5)) + yard.enqueue(3, MAIL)
    turns = Turns(yard, [MAIL, Lane("mail", "work", 5)], {}, stacks=["mail"])
    order = [job.job for room in (1, 3, 10) for job in turns.claim(room)]
    assert order == [jobs[4], jobs[3], jobs[7], jobs[6], jobs[5], jobs[2], jobs[1], jobs[0]]
    yard.audit()


def test_stacks_and_lines_take_turns(yard: Yard) -> None:
    mail, reports = yard.enqueue(4, MAIL), yard.enqueue(4, REPORTS)
    turns = Turns(yard, [MAIL, REPORTS], {}, stacks=["mail"])
    order = [job.job for job in turns.claim(8)]
    assert [job for job in order if job in mail] == mail[::-1]
    assert [job for job in order if job in reports] == reports
    assert {order[0] in mail, order[1] in mail} == {True, False}


def test_runners_at_the_same_moment_get_different_jobs(yard: Yard) -> None:
    jobs = yard.enqueue(60, MAIL) + yard.enqueue(60, REPORTS)
    runners = [Turns(yard, [MAIL, REPORTS], {"mail": 2}, stacks=["reports"]) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = [job.job for claimed in pool.map(lambda turns: turns.claim(20), runners) for job in claimed]
    found += [job.job for job in runners[0].claim(200)]
    assert sorted(found) == sorted(jobs)
    yard.audit()


@pytest.mark.parametrize("stacks", [["mail"], []])
def test_a_lost_runner_gets_nothing_by_turns(yard: Yard, stacks: Sequence[str]) -> None:
    yard.enqueue(3, MAIL)
    turns = Turns(yard, [MAIL], {"mail": 2}, stacks=stacks)
    mine = turns.runner
    turns.runner = "00000000-0000-4000-8000-000000000000"
    assert turns.claim(3) == []
    turns.runner = mine
    yard.pass_time(seconds=31)  # beyond its lease
    assert turns.claim(3) == []
    yard.audit()


def test_waits_are_those_of_the_heads(yard: Yard) -> None:
    yard.enqueue(1, MAIL)
    yard.pass_time(minutes=10)
    yard.enqueue(1, MAIL)
    yard.enqueue(1, REPORTS)
    lanes = [yard.probe(MAIL), yard.probe(REPORTS), yard.probe(Lane("empty", "work"))]
    waits = yard.store.read(claim.lane_waits(lanes))
    assert set(waits) == {lanes[0].lane, lanes[1].lane}
    assert 600_000_000 <= waits[lanes[0].lane] < 660_000_000
    assert waits[lanes[1].lane] < 60_000_000


def test_a_job_that_had_to_wait_for_its_time_waits_since_then(yard: Yard) -> None:
    yard.enqueue(1, MAIL, delay=3_600_000_000)
    yard.pass_time(hours=1, minutes=10)
    yard.promote()
    probe = yard.probe(MAIL)
    assert 600_000_000 <= yard.store.read(claim.lane_waits([probe]))[probe.lane] < 660_000_000
    [mail] = yard.store.read(queues.queue_rows())
    assert 600_000_000 <= (mail.waited or 0) < 660_000_000


def test_a_full_queue_takes_nothing_and_tells_when_to_come_back(yard: Yard) -> None:
    gauge = {"mail": Gauge(10)}
    submit_to(yard, yard.new(10, MAIL), gauge)
    yard.pass_time(seconds=100)
    with pytest.raises(QueueFull, match="10 jobs wait and 10 may") as full:
        submit_to(yard, yard.new(1, MAIL), gauge)
    assert (full.value.depth, full.value.max_depth) == (10, 10)
    assert 10 <= full.value.retry_after < 12  # ten jobs, a hundred seconds: one leaves in ten
    submit_to(yard, yard.new(1, REPORTS), gauge)
    assert yard.waiting() == 11
    submit_to(yard, yard.new(1, REPORTS), {"reports": Gauge(2)})  # jobs in other queues do not fill this one
    yard.audit()


def test_a_bulk_is_let_in_or_refused_whole(yard: Yard) -> None:
    gauge = {"mail": Gauge(10)}
    submit_to(yard, yard.new(8, MAIL), gauge)
    with pytest.raises(QueueFull, match="3 more do not fit"):
        submit_to(yard, [*yard.new(3, MAIL, key=None), *yard.new(1, REPORTS)], gauge)
    assert yard.waiting() == 8
    submit_to(yard, yard.new(2, MAIL), gauge)


def test_what_runs_or_waits_for_a_time_or_is_known_needs_no_room(yard: Yard) -> None:
    gauge = {"mail": Gauge(2)}
    [(known, _), _] = submit_to(yard, [*yard.new(1, MAIL, key="k"), *yard.new(1, MAIL)], gauge)
    assert submit_to(yard, yard.new(1, MAIL, key="k"), gauge)[0] == (known, False)
    submit_to(yard, yard.new(1, MAIL, delay=60_000_000), gauge)
    yard.claim(yard.runner(), 1, [MAIL])
    submit_to(yard, yard.new(1, MAIL), gauge)
    with pytest.raises(QueueFull):
        submit_to(yard, yard.new(1, MAIL, key="another"), gauge)
    assert yard.waiting() == 2


def test_submitters_at_the_same_moment_overshoot_by_one_each_at_most(yard: Yard) -> None:
    threads, limit = 6, 40

    def fill(one: Yard) -> None:
        gauge = {"mail": Gauge(limit)}
        with suppress(QueueFull):
            while True:
                submit_to(one, one.new(1, MAIL), gauge)

    at_once(yard, threads, fill)
    assert limit <= yard.waiting() <= limit + (0 if yard.store.backend.capabilities.is_file else threads)


def test_bulks_at_the_same_moment_do_not_overshoot(yard: Yard) -> None:
    def offer(one: Yard) -> None:
        with suppress(QueueFull):
            submit_to(one, one.new(30, MAIL), {"mail": Gauge(100)})

    at_once(yard, 6, offer)
    assert yard.waiting() == 90


def test_queues_are_listed_with_all_that_is_in_them(yard: Yard) -> None:
    yard.enqueue(3, MAIL)
    yard.enqueue(1, Lane("mail", "other"))
    yard.enqueue(2, REPORTS, delay=60_000_000)
    yard.claim(yard.runner(), 1, [MAIL])
    rows = {row.queue: row for row in yard.store.read(queues.queue_rows())}
    assert (rows["mail"].waiting, rows["mail"].running) == (3, 1)
    assert (rows["reports"].waiting, rows["reports"].waited) == (0, None)
    assert rows["reports"].aside == {State.SCHEDULED: 2}
    [server] = yard.store.read(queues.servers())
    assert server.queues == ["default"]


def test_a_place_that_was_given_away_after_a_step_of_the_clock_costs_no_job(sqlite_yard: Yard) -> None:
    yard = sqlite_yard
    first = yard.enqueue(2, MAIL)
    runner = yard.runner()
    claimed = yard.claim(runner, 2, [MAIL])
    second = yard.enqueue(2, MAIL)
    with yard.store.transaction() as connection:  # as a clock that was set back would do
        for job, taken in zip(second, claimed, strict=True):
            for statement in (
                "UPDATE posthorse_ready SET seq = ? WHERE job = ?",
                "UPDATE posthorse_jobs SET seq = ? WHERE id = ?",
            ):
                cast("Any", connection).execute(statement, (taken.seq, job))
    yard.give_back(*(Fence(job.job, job.epoch, runner) for job in claimed))
    yard.audit()
    assert [job.job for job in yard.claim(yard.runner(), 9, [MAIL])] == second + first


def at_once(yard: Yard, count: int, act: Callable[[Yard], None]) -> None:
    """Run as several processes, as far as the store can tell: each with connections of its own."""
    yards = [Yard(yard.store.url) for _ in range(count)]
    ready = Barrier(count)
    for one in yards:
        one.store.lanes({MAIL})
        one.waiting()

    def run(one: Yard) -> None:
        ready.wait()
        act(one)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, yards))
    for one in yards:
        one.store.close()


def submit_to(yard: Yard, jobs: Sequence[NewJob], gauges: dict[str, Gauge]) -> list[submit.SubmitResult]:
    lanes = yard.store.lanes({job.lane for job in jobs})
    return yard.store.run(submit.enqueue(jobs, lanes, gauges=gauges))
