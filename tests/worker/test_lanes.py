"""Lanes: a claim reads neither what was consumed nor too many lanes, and still finds what commits late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job import Lane
from posthorse.rules.queues import QueueSettings
from posthorse.rules.tuning import DEFAULTS
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.claiming.lane_sampling import FEW, FRESH_FOR, LOOK_SHARE
from posthorse.worker.claiming.lanes import Lanes
from posthorse.worker.claiming.low_water_marks import SWEEP_SHARE

LETTERS, FILMS = Lane("mail", "letter", 0), Lane("video", "film", 7)

LAG, SWEEP_INTERVAL = DEFAULTS.mark_lag, DEFAULTS.mark_sweep_interval


def book(*, keeps_marks: bool = True) -> Lanes:
    made = Lanes(lambda lane: lane.kind != "foreign", keeps_marks=keeps_marks)
    made.add([(1, LETTERS), (2, FILMS), (3, Lane("mail", "foreign")), (4, Lane("mail", "letter", 0, solo=True))])
    return made


def claimed(lane: int, seq: int) -> Claimed:
    return Claimed(f"job-{seq}", 1, lane, seq, 0, 0, 0, "{}", None, None)


def after(lanes: Lanes, now: float, lane: int = 1) -> int:
    return next(probe.after for probe in lanes.probes(now, 1) if probe.lane == lane)


def swept(lanes: Lanes, now: float) -> None:
    """Do the sweep that is due, at no cost."""
    lanes.probes(now, 1)
    lanes.note([], room=1, now=now, seconds=0)


def test_only_lanes_that_are_served_are_probed_and_higher_priority_first() -> None:
    assert book().probes(0, 1) == [Probe(2, 0, 7), Probe(1, 0, 0)]
    assert [probe.lane for probe in book().served.probes_for_suspects()] == [4]


def test_while_the_runner_keeps_up_the_mark_lags_behind_by_a_moment() -> None:
    lanes = book()
    swept(lanes, 10.0)
    lanes.note([claimed(1, 40)], room=5, now=10.1, seconds=0)
    assert after(lanes, 10.15 + LAG) == 0  # from now on 40 grows old
    lanes.note([claimed(1, 50)], room=5, now=10.2 + LAG, seconds=0)
    swept(lanes, 10.0 + SWEEP_INTERVAL)
    assert after(lanes, 10.1 + 2 * LAG) == 0
    assert after(lanes, 10.2 + 2 * LAG) == 40
    assert after(lanes, 10.25 + 3 * LAG) == 50


@given(st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(0, 5)), min_size=1, max_size=60))
def test_while_the_runner_keeps_up_nothing_is_passed_that_was_consumed_a_moment_ago(
    turns: list[tuple[float, int]],
) -> None:
    """What commits late is before places that were consumed meanwhile: for this long it is still found."""
    lanes, now, consumed = book(), 100.0, [(0.0, 0)]
    for pause, count in turns:
        now += pause
        old = max(seq for when, seq in consumed if when <= now - LAG)
        assert after(lanes, now) <= old
        last = consumed[-1][1]
        jobs = [claimed(1, last + place + 1) for place in range(count)]
        lanes.note(jobs, room=count + 1, now=now, seconds=0.001)
        consumed.append((now, last + count))


def test_a_runner_that_is_behind_starts_from_the_sharp_mark() -> None:
    lanes = book()
    swept(lanes, 10.0)
    lanes.probes(10.05, 1)
    lanes.note([claimed(1, 49), claimed(1, 50)], room=2, now=10.1, seconds=0)
    assert after(lanes, 10.2) == 50
    assert after(lanes, 10.2, lane=2) == 0


def test_lanes_whose_jobs_come_back_to_their_places_have_no_marks() -> None:
    held = Lanes(lambda _: True, keeps_marks=True, keeps_mark_of=lambda number: number != 1)
    held.add([(1, LETTERS), (2, FILMS)])
    newest = book()
    newest.obey({"mail": QueueSettings(order="lifo")})
    for lanes, mark in ((held, 0), (newest, 0), (book(), 50)):
        swept(lanes, 10.0)
        lanes.probes(10.05, 1)
        lanes.note([claimed(1, 50), claimed(2, 50)], room=2, now=10.1, seconds=0)
        assert (after(lanes, 10.2), after(lanes, 10.2, lane=2)) == (mark, 50)


def test_a_store_without_dead_entries_needs_no_marks() -> None:
    lanes = book(keeps_marks=False)
    swept(lanes, 10.0)
    lanes.note([claimed(1, 50)], room=1, now=10.1, seconds=0)
    assert after(lanes, 10.2) == 0


def test_a_sweep_starts_from_zero_and_is_paced_by_its_cost() -> None:
    lanes = book()
    lanes.probes(10.0, 1)
    lanes.note([claimed(1, 50)], room=1, now=10.5, seconds=0.5)
    pause = max(SWEEP_INTERVAL, SWEEP_SHARE * 0.5)
    assert after(lanes, 10.5 + pause - 0.1) == 50
    assert after(lanes, 10.5 + pause + 0.1) == 0


@given(st.lists(st.tuples(st.floats(0.001, 1.5), st.integers(0, 8), st.booleans()), min_size=1, max_size=60))
def test_a_place_that_appears_late_is_probed_within_the_pace_of_the_sweeps(
    turns: list[tuple[float, int, bool]],
) -> None:
    """Whatever was claimed in whatever rhythm, some probe starts from zero soon after."""
    lanes, now, seq = book(), 100.0, 0
    for pause, count, is_behind in turns:
        now += pause
        lanes.probes(now, 1)
        jobs = [claimed(1, seq := seq + 1) for _ in range(count)]
        lanes.note(jobs, room=max(1, count) if is_behind else count + 1, now=now, seconds=0.001)
    late = now
    while after(lanes, now) != 0:
        lanes.note([], room=1, now=now, seconds=0.001)
        now += 0.1
        assert now - late <= SWEEP_INTERVAL + 0.2


@given(st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(1, 100)), min_size=1, max_size=60))
def test_the_mark_never_passes_what_was_consumed(turns: list[tuple[float, int]]) -> None:
    lanes, now, seq = book(), 100.0, 0
    for pause, step in turns:
        now += pause
        assert after(lanes, now) <= seq
        seq += step
        lanes.note([claimed(1, seq)], room=1, now=now, seconds=0.001)
        assert after(lanes, now + 0.0001) <= seq


# ── many lanes ───────────────────────────────────────────────────────────────────────────────────────

MANY = FEW + 105


def many(count: int = MANY, *, keeps_marks: bool = False) -> Lanes:
    made = Lanes(lambda _: True, keeps_marks=keeps_marks)
    made.add([(number, Lane(f"queue {number}", "letter", number == 5)) for number in range(1, count + 1)])
    return made


def look(lanes: Lanes, now: float, heads: Mapping[int, int], *, seconds: float = 0.1) -> None:
    assert lanes.has_to_look(now)
    lanes.learn(heads, now=now, seconds=seconds)


def probed(lanes: Lanes, now: float, room: int) -> list[int]:
    return [probe.lane for probe in lanes.probes(now, room)]


def test_of_many_lanes_only_those_are_probed_that_had_jobs_and_no_more_than_jobs_are_wanted() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30, 9: 10, 8: 20, 5: 40, MANY + 1: 1})
    assert probed(lanes, 10.1, 3) == [5, 9, 8]  # the highest priority, then whose head came first
    assert lanes.sample.is_partial
    assert probed(lanes, 10.1, 9) == [5, 9, 8, 7]
    assert not lanes.sample.is_partial


def test_lanes_that_gave_jobs_are_asked_again_after_the_others_of_their_priority() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30, 9: 10, 8: 20})
    assert probed(lanes, 10.1, 2) == [9, 8]
    lanes.note([claimed(9, 10), claimed(9, 11)], room=2, now=10.1, seconds=0)
    assert probed(lanes, 10.2, 3) == [8, 7, 9]
    assert lanes.sample.is_partial  # another runner may have claimed one meanwhile


def test_lanes_that_gave_all_they_had_are_left_alone_and_when_none_is_left_all_are_looked_into() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30, 9: 10})
    probed(lanes, 10.1, 3)
    lanes.note([claimed(7, 30)], room=3, now=10.1, seconds=0, exhausted=True)
    assert probed(lanes, 10.2, 3) == [7]
    assert not lanes.has_to_look(10.2)
    lanes.note([], room=3, now=10.2, seconds=0, exhausted=True)
    assert lanes.has_to_look(10.2)
    assert len(lanes.looks(10.2)) == MANY


def test_lanes_with_jobs_left_by_a_gate_or_a_turn_are_not_taken_for_empty() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30, 9: 10})
    probed(lanes, 10.1, 3)
    lanes.note([claimed(7, 30)], room=3, now=10.1, seconds=0)
    assert probed(lanes, 10.2, 3) == [9, 7]


def test_many_lanes_that_gave_a_job_are_asked_again_until_most_of_them_have_no_more() -> None:
    lanes = many()
    look(lanes, 10.0, dict.fromkeys(range(6, MANY + 1), 1))
    for _ in range(0, 2 * (FEW + 100), 100):
        assert not lanes.has_to_look(10.1)
        jobs = [claimed(number, 1) for number in probed(lanes, 10.1, 100)]
        assert len(jobs) == 100
        lanes.note(jobs, room=100, now=10.1, seconds=0)
    assert not lanes.has_to_look(10.1)
    assert lanes.has_to_look(10.0 + FRESH_FOR)
    jobs = [claimed(number, 2) for number in probed(lanes, 10.1, 100)[:40]]
    lanes.note(jobs, room=100, now=10.1, seconds=0)
    assert lanes.has_to_look(10.1)
    look(lanes, 10.2, dict.fromkeys(range(6, MANY + 1), 3))
    assert not lanes.has_to_look(10.3)


def test_all_are_looked_into_again_at_a_pace_that_the_look_itself_sets() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30}, seconds=0.05)
    assert not lanes.has_to_look(10.0 + LOOK_SHARE * 0.05 - 0.01)
    assert lanes.has_to_look(10.0 + LOOK_SHARE * 0.05 + 0.01)


def test_what_a_look_found_before_the_mark_is_claimed_from_there_and_then_from_the_mark() -> None:
    lanes = many(keeps_marks=True)
    look(lanes, 10.0, {7: 50}, seconds=0)
    lanes.probes(10.0, 1)
    lanes.note([claimed(7, 50)], room=1, now=10.0, seconds=0)
    look(lanes, 10.1, {7: 20}, seconds=0)  # committed late
    assert lanes.probes(10.1, 1) == [Probe(7, 19, 0)]
    lanes.note([claimed(7, 20)], room=1, now=10.1, seconds=0)
    assert lanes.probes(10.1, 1) == [Probe(7, 50, 0)]


def test_a_sweep_of_many_lanes_is_a_look_from_zero() -> None:
    lanes = many(keeps_marks=True)
    look(lanes, 10.0, {7: 50}, seconds=0)
    lanes.probes(10.0, 1)
    lanes.note([claimed(7, 50)], room=1, now=10.0, seconds=0)
    assert lanes.has_to_look(10.0 + SWEEP_INTERVAL - 0.1)
    starts = {probe.lane: probe.after for probe in lanes.looks(10.0 + SWEEP_INTERVAL - 0.1)}
    assert starts[7] == 50
    lanes.learn({7: 60}, now=10.0 + SWEEP_INTERVAL - 0.1, seconds=1.0)
    assert lanes.has_to_look(10.0 + SWEEP_INTERVAL + 0.1)
    starts = {probe.lane: probe.after for probe in lanes.looks(10.0 + SWEEP_INTERVAL + 0.1)}
    assert starts[7] == 0


def test_where_all_that_was_found_is_shut_the_others_are_looked_into() -> None:
    lanes = many()
    look(lanes, 10.0, {7: 30})
    lanes.shut_gates.shut([7], until=11.0)
    assert probed(lanes, 10.1, 1) == []
    lanes.note([], room=1, now=10.1, seconds=0)
    assert lanes.has_to_look(10.2)
    assert len(lanes.looks(10.2)) == MANY - 1
    assert 7 not in {probe.lane for probe in lanes.looks(10.2)}


def sharing() -> Lanes:
    made = Lanes(lambda _: True, keeps_marks=False)
    made.add([(number, Lane("mail", "letter", tenant=f"t{number:03}")) for number in range(1, MANY + 1)])
    made.obey({"mail": QueueSettings(fair=True)})
    assert made.fair_share.is_needed
    return made


def turn(lanes: Lanes, now: float, room: int, *, filled: Mapping[int, int]) -> list[int]:
    """Claim one job from each lane that is read and has any; return the lanes that were read."""
    probes = lanes.probes(now, room)
    gave = [probe.lane for probe in probes if filled.get(probe.lane)]
    jobs = [claimed(number, 1) for number in gave]
    lanes.note_turns(jobs, lanes.fair_share.turns(probes).lines, frozenset(gave))
    lanes.note(jobs, room=room, now=now, seconds=0)
    return [probe.lane for probe in probes]


def test_of_many_tenants_no_more_are_asked_than_jobs_are_wanted_and_all_get_their_turns() -> None:
    lanes, filled = sharing(), dict.fromkeys(range(1, MANY + 1), 9)
    look(lanes, 10.0, filled)
    asked = [turn(lanes, 10.1, 7, filled=filled) for _ in range(3 * MANY // 7)]
    assert all(len(each) == 7 for each in asked)
    assert lanes.sample.is_partial
    counts = Counter(number for each in asked for number in each)
    assert max(counts.values()) - min(counts[number] for number in filled) <= 1


def test_tenants_who_have_no_jobs_any_more_keep_nobody_from_a_turn() -> None:
    lanes, found = sharing(), dict.fromkeys(range(1, MANY + 1), 1)
    look(lanes, 10.0, found)
    left = {MANY: 9}
    for _ in range(MANY // 7 + 1):
        turn(lanes, 10.1, 7, filled=left)
    assert turn(lanes, 10.1, 7, filled=left) == [MANY]
    assert not lanes.sample.is_partial or not lanes.has_to_look(10.1)


def test_tenants_whose_queue_is_shut_for_a_while_are_not_forgotten() -> None:
    lanes, filled = sharing(), dict.fromkeys(range(1, MANY + 1), 9)
    look(lanes, 10.0, filled)
    lanes.shut_gates.shut(filled, until=10.2)
    assert turn(lanes, 10.1, 7, filled={}) == []
    look(lanes, 10.15, filled)
    assert len(turn(lanes, 10.3, 7, filled=filled)) == 7


def test_few_lanes_are_all_looked_into_each_time() -> None:
    lanes = many(FEW)
    assert not lanes.has_to_look(10.0)
    lanes.probes(10.0, 1)
    lanes.note([claimed(7, 1)], room=1, now=10.1, seconds=5.0)
    assert len(lanes.probes(10.2, 1)) == FEW
