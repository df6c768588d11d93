"""The low-water marks: what was consumed is not walked over again, and what commits late is found all the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job import Lane
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.lanes import LAG, SWEEP_EVERY, SWEEP_SHARE, LaneBook

LETTERS, FILMS = Lane("mail", "letter", 0), Lane("video", "film", 7)


def book(*, keeps_marks: bool = True) -> LaneBook:
    made = LaneBook(lambda lane: lane.kind != "foreign", keeps_marks=keeps_marks)
    made.add([(1, LETTERS), (2, FILMS), (3, Lane("mail", "foreign")), (4, Lane("mail", "letter", 0, solo=True))])
    return made


def claimed(lane: int, seq: int) -> Claimed:
    return Claimed(f"job-{seq}", 1, lane, seq, 0, 0, 0, "{}", None, None)


def after(lanes: LaneBook, now: float, lane: int = 1) -> int:
    return next(probe.after for probe in lanes.probes(now) if probe.lane == lane)


def swept(lanes: LaneBook, now: float) -> None:
    """Lets the sweep that is due happen, and costs nothing."""
    lanes.probes(now)
    lanes.note([], room=1, now=now, seconds=0)


def test_only_lanes_that_are_served_are_probed_and_higher_priority_first() -> None:
    assert book().probes(0) == [Probe(2, 0, 7), Probe(1, 0, 0)]
    assert [probe.lane for probe in book().solo_probes()] == [4]


def test_all_lanes_that_were_looked_at_are_known_even_foreign_ones() -> None:
    lanes = book()
    assert lanes.known == 4
    assert lanes.add([(9, Lane("mail", "foreign", 3))]) is False
    assert lanes.known == 9
    assert lanes[2] == FILMS


def test_while_the_runner_keeps_up_the_mark_lags_behind_by_a_moment() -> None:
    lanes = book()
    swept(lanes, 10.0)
    lanes.note([claimed(1, 50)], room=5, now=10.1, seconds=0)
    assert after(lanes, 10.2) == 0
    assert after(lanes, 10.2 + LAG) in (0, 50)
    assert after(lanes, 10.2 + 2 * LAG + 0.1) == 50 or lanes.probes(10.2 + 2 * LAG + 0.1)


def test_a_runner_that_is_behind_starts_from_the_sharp_mark() -> None:
    lanes = book()
    swept(lanes, 10.0)
    lanes.probes(10.05)
    lanes.note([claimed(1, 49), claimed(1, 50)], room=2, now=10.1, seconds=0)
    assert after(lanes, 10.2) == 50
    assert after(lanes, 10.2, lane=2) == 0


def test_a_store_without_dead_entries_needs_no_marks() -> None:
    lanes = book(keeps_marks=False)
    swept(lanes, 10.0)
    lanes.note([claimed(1, 50)], room=1, now=10.1, seconds=0)
    assert after(lanes, 10.2) == 0


def test_a_sweep_starts_from_zero_and_is_paced_by_its_cost() -> None:
    lanes = book()
    lanes.probes(10.0)
    lanes.note([claimed(1, 50)], room=1, now=10.5, seconds=0.5)
    pause = max(SWEEP_EVERY, SWEEP_SHARE * 0.5)
    assert after(lanes, 10.5 + pause - 0.1) == 50
    assert after(lanes, 10.5 + pause + 0.1) == 0


@given(st.lists(st.tuples(st.floats(0.001, 1.5), st.integers(0, 8), st.booleans()), min_size=1, max_size=60))
def test_a_place_that_appears_late_is_probed_within_the_pace_of_the_sweeps(
    turns: list[tuple[float, int, bool]],
) -> None:
    """Whatever was claimed in whatever rhythm: soon after, some probe starts from zero."""
    lanes, now, seq = book(), 100.0, 0
    for pause, count, is_behind in turns:
        now += pause
        lanes.probes(now)
        jobs = [claimed(1, seq := seq + 1) for _ in range(count)]
        lanes.note(jobs, room=max(1, count) if is_behind else count + 1, now=now, seconds=0.001)
    late = now
    while after(lanes, now) != 0:
        lanes.note([], room=1, now=now, seconds=0.001)
        now += 0.1
        assert now - late <= SWEEP_EVERY + 0.2


@given(st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(1, 100)), min_size=1, max_size=60))
def test_the_mark_never_passes_what_was_consumed(turns: list[tuple[float, int]]) -> None:
    lanes, now, seq = book(), 100.0, 0
    for pause, step in turns:
        now += pause
        assert after(lanes, now) <= seq
        seq += step
        lanes.note([claimed(1, seq)], room=1, now=now, seconds=0.001)
        assert after(lanes, now + 0.0001) <= seq
