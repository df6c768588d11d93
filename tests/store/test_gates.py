"""Gates in the store: what many runners claim at once stays within the limits, and dead ones leave nothing behind."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import msgspec
import pytest

from posthorse.rules.fair_share import FairShares, Line, Passes
from posthorse.rules.gates import NANOSECONDS, Requirement, budget_of, gate_name
from posthorse.rules.job import JobError, Lane, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.limits import Rate
from posthorse.rules.outcomes import Lost, Raised
from posthorse.rules.requests import Request
from posthorse.rules.retry import Backoff
from posthorse.store.base import Operation
from posthorse.store.operations import runners, submit, through_gates
from posthorse.store.operations.budgets import settle_within_budget
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Settlement
from posthorse.store.operations.gates import (
    PATIENCE,
    gates_to_tend,
    let_through,
    loosen_gates,
    neglected_gates,
    tend_gates,
)
from posthorse.store.operations.limits import held_in_queues, limits_at_work
from posthorse.store.operations.through_gates import Candidate, Passed, claim_through_gates, in_sight
from posthorse.store.postgres import faults as postgres_faults
from posthorse.store.store import Store
from tests.store.limits import FAST, IN_ORDER, ONE_EACH, PASSING, RATE_EACH, TWO, Rules
from tests.store.yard import HOME, Yard

LATER = Lane("default", "work", -1)


_holders: dict[tuple[str, int], str] = {}
"""The runner of each claim."""


def claim(yard: Yard, runner: str, room: int, rules: Rules, lanes: Sequence[Lane] = (HOME,)) -> Passed:
    probes = [yard.probe(lane) for lane in lanes]
    lines = {probe.lane: Line(lane.queue, probe.priority) for probe, lane in zip(probes, lanes, strict=True)}
    turns = FairShares(lines, {}, Passes())
    passed = yard.store.run(claim_through_gates(runner, probes, room, room, turns, rules))
    _holders.update({(job.job, job.epoch): runner for job in passed.claimed})
    return passed


def attempts(passed: Passed) -> list[Fence]:
    return [Fence(job.job, job.epoch, _holders[job.job, job.epoch]) for job in passed.claimed]


def enqueue(yard: Yard, *keys: object, lane: Lane = HOME) -> list[str]:
    jobs = [job for key in keys for job in yard.new(1, lane, arguments=msgspec.json.encode({"key": key}).decode())]
    return [answer.id for answer in yard.submit(jobs)]


def leave(yard: Yard, passed: Passed) -> None:
    gates = {gate for some in passed.gates.values() for gate in some}
    yard.store.run(let_through(gates))


def tend(yard: Yard) -> None:
    gates = yard.store.read(gates_to_tend(100))
    neglected = yard.store.read(neglected_gates(100))
    yard.store.run(tend_gates(gates, neglected))


# ── limits of a lane ─────────────────────────────────────────────────────────────────────────────────


def test_no_more_jobs_are_claimed_than_the_limit_leaves_room_for(yard: Yard) -> None:
    yard.enqueue(5)
    runner, rules = yard.runner(), Rules(TWO)
    first = claim(yard, runner, 5, rules)
    assert len(first.claimed) == 2
    assert first.shut == {yard.probe().lane: None}
    assert claim(yard, yard.runner(), 5, rules).claimed == []
    yard.complete(attempts(first)[0])
    assert len(claim(yard, runner, 5, rules).claimed) == 1
    yard.audit()


def test_a_rate_gives_its_burst_and_then_a_token_at_a_time(yard: Yard) -> None:
    yard.enqueue(10)
    runner, rules = yard.runner(), Rules(FAST)
    first = claim(yard, runner, 10, rules)
    assert len(first.claimed) == 3
    [seconds] = first.shut.values()
    assert seconds is not None
    assert 0 < seconds <= 1
    yard.pass_time(seconds=2)
    assert len(claim(yard, runner, 10, rules).claimed) == 2
    yard.pass_time(seconds=3600)
    assert len(claim(yard, yard.runner(), 10, rules).claimed) == 3


def test_a_dead_runner_leaves_no_slot_behind(yard: Yard) -> None:
    yard.enqueue(4)
    rules = Rules(TWO)
    claim(yard, yard.runner(), 5, rules)
    yard.pass_time(minutes=5)
    yard.rescue_expired()
    for held in yard.store.read(runners.orphans(10)):
        yard.settle(Fence(held.job, held.epoch, held.runner), Lost("gone"))
    assert len(claim(yard, yard.runner(), 5, rules).claimed) == 2
    yard.audit()


@pytest.mark.parametrize("rules", [Rules(TWO), Rules(keyed=[ONE_EACH])], ids=["of its lane", "of its own"])
def test_a_runner_whose_lease_ran_out_passes_no_gate(yard: Yard, rules: Rules) -> None:
    enqueue(yard, "a", "b")
    late = yard.runner()
    yard.pass_time(seconds=31)
    assert claim(yard, late, 5, rules).claimed == []
    assert len(claim(yard, yard.runner(), 5, rules).claimed) == 2
    yard.audit()


def test_a_lane_without_limits_is_claimed_beside_one_whose_gates_are_shut(yard: Yard) -> None:
    class OnlyHome(Rules):
        def of_lane(self, lane: int) -> Sequence[Requirement]:
            return self.needs if lane == yard.probe(HOME).lane else ()

    yard.enqueue(4)
    yard.enqueue(3, LATER)
    passed = claim(yard, yard.runner(), 10, OnlyHome(TWO), [HOME, LATER])
    assert Counter(job.lane for job in passed.claimed) == {yard.probe(HOME).lane: 2, yard.probe(LATER).lane: 3}


# ── limits by key ────────────────────────────────────────────────────────────────────────────────────


def test_what_a_gate_of_its_own_keeps_out_is_set_aside_and_others_pass(yard: Yard) -> None:
    a1, a2, b1, a3 = enqueue(yard, "a", "a", "b", "a")
    rules = Rules(keyed=[ONE_EACH])
    passed = claim(yard, yard.runner(), 10, rules)
    assert [job.job for job in passed.claimed] == [a1, b1]
    assert passed.has_held
    assert yard.state(a2) is yard.state(a3) is State.BLOCKED
    assert yard.job(a2).reason == "waits for concurrency of kind work, key=a"
    assert yard.store.read(held_in_queues(10)) == [("default", "concurrency of kind work, key=a", 2)]
    yard.audit()


def test_when_one_ends_the_next_is_lined_up_and_nobody_overtakes_it(yard: Yard) -> None:
    a1, a2, a3 = enqueue(yard, "a", "a", "a")
    rules, runner = Rules(keyed=[ONE_EACH]), yard.runner()
    first = claim(yard, runner, 10, rules)
    yard.complete(*attempts(first))
    [a4] = enqueue(yard, "a")
    leave(yard, first)
    assert (yard.state(a2), yard.job(a2).reason) == (State.PENDING, None)
    assert yard.state(a3) is State.BLOCKED
    second = claim(yard, runner, 10, rules)
    assert [job.job for job in second.claimed] == [a2]
    assert yard.state(a4) is State.BLOCKED
    assert a1 not in (a2, a3)
    yard.audit()


def test_a_newcomer_waits_behind_those_who_are_held_though_there_is_room(yard: Yard) -> None:
    _, a2 = enqueue(yard, "a", "a")
    rules, runner = Rules(keyed=[ONE_EACH]), yard.runner()
    first = claim(yard, runner, 10, rules)
    yard.complete(*attempts(first))  # a2 has not become pending yet
    [a3] = enqueue(yard, "a")
    assert claim(yard, runner, 10, rules).claimed == []
    assert yard.state(a3) is State.BLOCKED
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [a2]


def test_a_rate_by_key_is_looked_after_when_its_token_comes(yard: Yard) -> None:
    _, a2 = enqueue(yard, "a", "a")
    rules, runner = Rules(keyed=[RATE_EACH]), yard.runner()
    claim(yard, runner, 10, rules)
    due = yard.store.read(runners.next_due())
    assert due.has_held
    assert due.gate is not None
    assert 0 < due.gate <= 10_000_000
    tend(yard)
    assert yard.state(a2) is State.BLOCKED
    yard.pass_time(seconds=10)
    tend(yard)
    assert yard.state(a2) is State.PENDING
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [a2]
    assert yard.store.read(runners.next_due()).gate is None


def test_those_held_before_a_gate_that_nobody_uses_any_more_are_lined_up(yard: Yard) -> None:
    a1, a2, a3 = enqueue(yard, "a", "a", "a")
    runner = yard.runner()
    first = claim(yard, runner, 10, Rules(keyed=[ONE_EACH]))
    yard.complete(*attempts(first))
    yard.pass_time(seconds=PATIENCE / 1_000_000 + 1)
    tend(yard)  # the limit was removed from the code: no job passes its gate any more
    tend(yard)
    assert yard.state(a1) is State.COMPLETED
    assert yard.state(a2) is yard.state(a3) is State.PENDING
    assert yard.store.read(limits_at_work(10)) == []


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_what_is_held_can_be_paused_and_cancelled(yard: Yard, action: str) -> None:
    a1, a2, a3 = enqueue(yard, "a", "a", "a")
    rules, runner = Rules(keyed=[ONE_EACH]), yard.runner()
    first = claim(yard, runner, 10, rules)
    yard.ask(a2, "pause" if action == "pause" else "cancel")
    yard.complete(*attempts(first))
    leave(yard, first)
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [a3]
    assert a1 != a2
    yard.audit()


# ── sequences ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("need", "goes_on"), [(IN_ORDER, False), (PASSING, True)])
def test_a_dead_head_blocks_or_is_passed(yard: Yard, need: Requirement, goes_on: bool) -> None:
    head, behind = enqueue(yard, "a", "a")
    rules, runner = Rules(keyed=[need]), yard.runner()
    first = claim(yard, runner, 10, rules)
    yard.fail(*attempts(first))
    leave(yard, first)
    tend(yard)
    assert yard.state(head) is State.FAILED
    assert yard.state(behind) is (State.PENDING if goes_on else State.BLOCKED)


def test_a_head_that_is_retried_keeps_its_place(yard: Yard) -> None:
    head, behind = enqueue(yard, "a", "a")
    rules, runner = Rules(keyed=[IN_ORDER]), yard.runner()
    first = claim(yard, runner, 10, rules)
    yard.fail(*attempts(first))
    yard.ask(head, "retry")
    again = claim(yard, runner, 10, rules)
    assert [job.job for job in again.claimed] == [head]
    yard.complete(*attempts(again))
    leave(yard, again)
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [behind]


class Untold(Rules):
    """Rules that do not know the gates of some jobs until they are asked."""

    unknown: frozenset[int] = frozenset()

    def of_job(self, candidate: Candidate) -> Sequence[Requirement] | None:
        key = msgspec.json.decode(candidate.arguments or "")["key"]
        return None if key in self.unknown else super().of_job(candidate)


def test_nothing_is_claimed_past_a_job_whose_gates_are_not_known_yet(yard: Yard) -> None:
    jobs, runner, rules = enqueue(yard, 1, 2, 3), yard.runner(), Untold(keyed=[ONE_EACH])
    rules.unknown = frozenset({2})
    first = claim(yard, runner, 10, rules)
    assert [job.job for job in first.claimed] == jobs[:1]
    again = claim(yard, runner, 10, rules)
    assert (again.claimed, again.has_held) == ([], True)
    rules.unknown = frozenset()
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == jobs[1:]
    yard.audit()


def test_what_decides_of_gates_is_looked_at_without_a_lock(yard: Yard) -> None:
    jobs, rules, probe = enqueue(yard, 1, "long " * 10_000), Rules(keyed=[ONE_EACH]), yard.probe(HOME)
    seen = yard.store.read(in_sight([probe], {probe.lane: Line(HOME.queue, 0)}, 10, rules))
    assert [candidate.job for candidate in seen] == jobs
    assert all(candidate.arguments for candidate in seen)


class Regions(Rules):
    """One job at a time in each region, and the jobs of an account one after the other."""

    def has_keys(self, lane: int) -> bool:
        return True

    def of_job(self, candidate: Candidate) -> Sequence[Requirement]:
        region, account = msgspec.json.decode(candidate.arguments or "")["key"]
        return [
            ONE_EACH._replace(gate=gate_name("concurrency", "kind", "work", "region", region)),
            IN_ORDER._replace(gate=gate_name("sequence", "", "account", account)),
        ]


def test_what_another_gate_keeps_out_is_not_overtaken_in_its_sequence(yard: Yard) -> None:
    enqueue(yard, ("north", 0))
    rules, runner = Regions(), yard.runner()
    holder = claim(yard, runner, 10, rules)
    head, behind = enqueue(yard, ("north", 1), ("south", 1))
    assert claim(yard, runner, 10, rules).claimed == []
    assert [yard.job(job).reason for job in (head, behind)] == [
        "waits for concurrency of kind work, region=north",
        "waits for sequence account, 1",
    ]
    yard.complete(*attempts(holder))
    leave(yard, holder)
    first = claim(yard, runner, 10, rules)
    assert [job.job for job in first.claimed] == [head]
    yard.complete(*attempts(first))
    leave(yard, first)
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [behind]
    yard.audit()


def test_of_many_lanes_with_limits_few_jobs_of_each_are_looked_at_and_none_is_left(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(through_gates, "IN_SIGHT", 9)
    lanes = [HOME, Lane("other", "work"), Lane("third", "work")]
    jobs = [job for lane in lanes for job in enqueue(yard, *range(10), lane=lane)]
    rules, runner = Rules(keyed=[ONE_EACH]), yard.runner()
    claimed: list[str] = []
    counts: list[int] = []
    while len(claimed) < len(jobs):
        passed = claim(yard, runner, 20, rules, lanes)
        counts.append(len(passed.claimed))
        claimed += [job.job for job in passed.claimed]
        assert passed.claimed or passed.has_held
        yard.complete(*attempts(passed))
        leave(yard, passed)
    assert sorted(claimed) == sorted(jobs)
    assert max(counts) <= 9
    yard.audit()


@pytest.mark.parametrize("others", [10, 150])
def test_what_is_out_of_sight_in_a_lane_with_limits_is_not_passed(yard: Yard, others: int) -> None:
    urgent, plain = Lane("urgent", "work", 5), Lane("plain", "work")
    jobs = enqueue(yard, *range(30), lane=urgent)
    yard.enqueue(30, plain)
    lanes = [urgent, *(Lane(f"empty {number}", "work") for number in range(others)), plain]
    free = yard.probe(plain).lane
    rules, runner = AllBut(free, keyed=[ONE_EACH]), yard.runner()
    assert [job.job for job in claim(yard, runner, 40, rules, lanes).claimed[:30]] == jobs


def test_where_many_lanes_have_jobs_with_limits_no_other_job_passes_them(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(through_gates, "IN_SIGHT", 12)
    monkeypatch.setattr(through_gates, "SIGHT", 10)
    lanes = [Lane(f"queue {number}", "work") for number in range(3)]
    jobs = [job for lane in lanes for job in enqueue(yard, *range(10), lane=lane)]
    plain = Lane("plain", "work", -1)
    yard.enqueue(30, plain)
    rules, runner = AllBut(yard.probe(plain).lane, keyed=[RATE_EACH]), yard.runner()
    claimed = [job.job for _ in range(10) for job in claim(yard, runner, 40, rules, [*lanes, plain]).claimed]
    assert set(claimed[:10]) <= set(jobs)


class AllBut(Rules):
    """The same, except for one lane that has no limits."""

    def __init__(self, free: int, *, keyed: Sequence[Requirement]) -> None:
        super().__init__(keyed=keyed)
        self.free = free

    def has_keys(self, lane: int) -> bool:
        return lane != self.free


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_a_head_that_leaves_while_another_gate_keeps_it_out_is_passed(yard: Yard, action: Request) -> None:
    enqueue(yard, ("north", 0))
    rules, runner = Regions(), yard.runner()
    claim(yard, runner, 10, rules)
    head, behind = enqueue(yard, ("north", 1), ("south", 1))
    claim(yard, runner, 10, rules)
    yard.ask(head, action)
    tend(yard)
    assert [job.job for job in claim(yard, runner, 10, rules).claimed] == [behind]
    if action == "pause":
        yard.ask(head, "resume")
        claim(yard, runner, 10, rules)
        assert yard.state(head) is State.BLOCKED


def test_a_priority_does_not_overtake_in_a_sequence(yard: Yard) -> None:
    [first] = enqueue(yard, "a", lane=LATER)
    [second] = enqueue(yard, "a")
    rules, runner = Rules(keyed=[IN_ORDER]), yard.runner()
    assert [job.job for job in claim(yard, runner, 10, rules, [HOME, LATER]).claimed] == [first]
    assert yard.state(second) is State.BLOCKED


# ── races ────────────────────────────────────────────────────────────────────────────────────────────


def test_operations_in_one_commit_never_wait_for_gates_while_they_hold_others(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    collisions: list[Exception] = []

    def is_collision(error: Exception) -> bool:
        collisions.append(error)
        return postgres_faults.is_collision(error)

    monkeypatch.setattr("posthorse.store.postgres.backend.is_collision", is_collision)
    rules = Rules(keyed=[ONE_EACH])
    enqueue(yard, "a", "b")
    passed = claim(yard, yard.runner(), 10, rules)
    leaving = [let_through(gates) for gates in passed.gates.values()]
    other = Yard(yard.store.url)

    def leave_together(store: Store, wanted: Sequence[Operation[None]]) -> None:
        for _ in range(50):
            store.backend.commit(wanted)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(leave_together, yard.store, leaving)
        two = pool.submit(leave_together, other.store, leaving[::-1])
        one.result(timeout=60)
        two.result(timeout=60)
    other.store.close()
    assert collisions == []


def test_many_runners_at_once_keep_every_limit_and_run_every_job(yard: Yard) -> None:
    others = [Yard(yard.store.url) for _ in range(2)]
    yards = [yard, *others]
    for each in yards:
        each.store.lanes({HOME})
    rules = Rules(TWO._replace(most=6), keyed=[ONE_EACH, IN_ORDER])
    keys = [n % 5 for n in range(80)]
    jobs = enqueue(yard, *keys)
    inside: Counter[object] = Counter()
    order: dict[object, list[int]] = {key: [] for key in set(keys)}
    number = {job: n for n, job in enumerate(jobs)}
    lock = threading.Lock()
    problems: list[str] = []

    def work(n: int) -> None:
        mine, chance = yards[n % len(yards)], random.Random(n)
        runner = mine.runner()
        while sum(map(len, order.values())) < len(jobs) and not problems:
            passed = claim(mine, runner, chance.choice((1, 2, 10)), rules)
            with lock:
                for job in passed.claimed:
                    key = keys[number[job.job]]
                    inside[key] += 1
                    order[key].append(number[job.job])
                if max(inside.values(), default=0) > 1 or inside.total() > 6:
                    problems.append(str(inside))
            with lock:
                for job in passed.claimed:
                    inside[keys[number[job.job]]] -= 1
            if passed.claimed:
                mine.complete(*attempts(passed))
                leave(mine, passed)
            elif not passed.has_held:
                tend(mine)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, n) for n in range(4)]:
            done.result(timeout=120)
    assert not problems
    assert sorted(n for some in order.values() for n in some) == list(range(len(jobs)))
    assert all(some == sorted(some) for some in order.values())
    yard.audit()
    for other in others:
        other.store.close()


# ── limits that change ───────────────────────────────────────────────────────────────────────────────


def test_a_rate_that_is_raised_forgets_what_the_old_one_gave_out(yard: Yard) -> None:
    yard.enqueue(9)
    runner = yard.runner()
    hourly = FAST._replace(step=3600 * NANOSECONDS, burst=1)
    assert len(claim(yard, runner, 10, Rules(hourly)).claimed) == 1
    assert claim(yard, runner, 10, Rules(hourly)).claimed == []
    assert claim(yard, runner, 10, Rules(FAST)).claimed == []  # the bucket is empty at first
    yard.pass_time(seconds=2)
    assert len(claim(yard, runner, 10, Rules(FAST)).claimed) == 2


def test_those_who_are_held_are_asked_anew_when_a_limit_of_their_queue_is_changed(yard: Yard) -> None:
    class OfQueue(Rules):
        def of_job(self, candidate: Candidate) -> Sequence[Requirement]:
            return [need._replace(gate=gate_name("concurrency", "queue", "default", "key", 1)) for need in self.keyed]

    jobs = enqueue(yard, 1, 1, 1)
    runner = yard.runner()
    assert len(claim(yard, runner, 10, OfQueue(keyed=[ONE_EACH])).claimed) == 1
    yard.store.run(loosen_gates("default"))
    tend(yard)
    assert len(claim(yard, runner, 10, OfQueue(keyed=[ONE_EACH._replace(most=2)])).claimed) == 1
    assert [yard.state(job) for job in jobs].count(State.BLOCKED) == 1
    yard.audit()


def test_the_first_before_a_neglected_gate_tries_again(yard: Yard) -> None:
    """A limit in the code was raised while a long job holds its place: no job leaves, and nothing says so."""
    a1, a2, a3 = enqueue(yard, "a", "a", "a")
    claim(yard, yard.runner(lease=3600 * NANOSECONDS), 10, Rules(keyed=[ONE_EACH]))
    yard.pass_time(seconds=PATIENCE / 1_000_000 + 1)
    tend(yard)
    assert [yard.state(job) for job in (a1, a2, a3)] == [State.PROCESSING, State.PENDING, State.BLOCKED]
    raised = claim(yard, yard.runner(), 10, Rules(keyed=[ONE_EACH._replace(most=3)]))
    assert [job.job for job in raised.claimed] == [a2]
    tend(yard)
    assert yard.state(a3) is State.PENDING


def test_held_jobs_that_were_given_the_same_place_are_all_lined_up(sqlite_yard: Yard) -> None:
    """As after a step of the clock: places are moments there."""
    yard = sqlite_yard
    _, a2, a3 = enqueue(yard, "a", "a", "a")
    first = claim(yard, yard.runner(), 10, Rules(keyed=[ONE_EACH]))
    yard.complete(*attempts(first))
    with yard.store.transaction() as connection:
        cast("Any", connection).execute("UPDATE posthorse_jobs SET seq = 7 WHERE id IN (?, ?)", (a2, a3))
        cast("Any", connection).execute("UPDATE posthorse_gates SET most = 2")
    leave(yard, first)
    assert yard.state(a2) is yard.state(a3) is State.PENDING
    yard.audit()


# ── what is kept, and how long ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_keyed", [True, False])
def test_a_slow_rate_is_remembered_until_its_token_comes(yard: Yard, is_keyed: bool) -> None:
    """No job passes its gate for an hour, but forgetting the rate would let the next one through at once."""
    hourly = (RATE_EACH if is_keyed else FAST)._replace(step=3600 * NANOSECONDS, burst=1)
    rules, runner = Rules(keyed=[hourly]) if is_keyed else Rules(hourly), yard.runner(lease=7 * 3600 * NANOSECONDS)
    first, _ = enqueue(yard, "a", "a")
    passed = claim(yard, runner, 10, rules)
    assert [job.job for job in passed.claimed] == [first]
    gates = [gate for some in passed.gates.values() for gate in some] or [hourly.gate]
    yard.complete(*attempts(passed))
    yard.pass_time(minutes=30)
    assert set(yard.store.read(gates_to_tend(100))).isdisjoint(gates)
    yard.store.run(tend_gates(gates, []))
    assert claim(yard, runner, 10, rules).claimed == []
    yard.pass_time(minutes=30, seconds=1)
    tend(yard)
    assert len(claim(yard, runner, 10, rules).claimed) == 1


def rows(yard: Yard, table: str) -> int:
    with yard.store.transaction() as connection:
        [found] = cast("Any", connection).execute(f"SELECT count(*) FROM {yard.store.backend.dialect.table(table)}")
        return cast("int", found[0])


@pytest.mark.parametrize(
    ("need", "fails"),
    [(ONE_EACH, False), (ONE_EACH, True), (IN_ORDER, False), (PASSING, False), (PASSING, True), (TWO, False)],
)
def test_those_who_left_leave_no_rows_behind(yard: Yard, need: Requirement, fails: bool) -> None:
    rules, runner = Rules(keyed=[need]) if need.is_keyed else Rules(need), yard.runner()
    most: Counter[str] = Counter()
    lanes = yard.store.lanes({HOME})
    for _ in range(6):
        [new] = yard.new(1, arguments='{"key":"a"}')
        gate = gate_name(need.gate, "kind", "work", "key", "a") if need.until != "lease" else None
        yard.store.run(submit.enqueue([msgspec.structs.replace(new, sequence=gate)], lanes))
        passed = claim(yard, runner, 10, rules)
        assert [job.job for job in passed.claimed] == [new.id]
        if fails:
            yard.fail(*attempts(passed))
        else:
            yard.complete(*attempts(passed))
        leave(yard, passed)
        for table in ("slots", "sequences"):
            most[table] = max(most[table], rows(yard, table))
    assert most["slots"] <= 1
    assert most["sequences"] <= 1


# ── retry budgets ────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_that_the_fence_refuses_takes_no_token_of_the_budget(yard: Yard) -> None:
    budget = budget_of(Rate("1/h"), "default")

    def fail(attempt: Fence) -> bool:
        transition = decide(Spent(), Raised(JobError("ValueError", "no")), Policy(backoff=Backoff(base=0, limit=0)))
        settling = settle_within_budget(Settlement(attempt, transition, HOME), budget)
        return yard.store.run(settling)

    late, first, second = (yard.started() for _ in range(3))
    yard.complete(late)
    assert not fail(late._replace(epoch=late.epoch + 1))
    assert fail(first)
    assert fail(second)
    assert yard.state(first.job) is State.PENDING
    assert yard.state(second.job) is State.SCHEDULED


def test_a_gate_that_somebody_tries_in_vain_is_neglected_all_the_same(yard: Yard) -> None:
    """No job has passed it for long: its limit may have been changed, and newcomers must not hide that."""
    enqueue(yard, "a", "a")
    rules, runner = Rules(keyed=[RATE_EACH._replace(step=3600 * NANOSECONDS)]), yard.runner(lease=3600 * NANOSECONDS)
    claim(yard, runner, 10, rules)
    yard.pass_time(seconds=PATIENCE / 1_000_000 + 1)
    enqueue(yard, "a")
    assert claim(yard, runner, 10, rules).claimed == []
    assert len(yard.store.read(neglected_gates(10))) == 1
