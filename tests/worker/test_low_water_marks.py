"""Low-water marks: a look starts behind what was consumed, and now and then from the beginning."""

from __future__ import annotations

from posthorse.rules.tuning import DEFAULTS
from posthorse.store.operations.claim import Claimed
from posthorse.worker.claiming.low_water_marks import SWEEP_SHARE, LowWaterMarks

LAG, SWEEP_INTERVAL = DEFAULTS.mark_lag, DEFAULTS.mark_sweep_interval


def claimed(lane: int, seq: int) -> Claimed:
    return Claimed(f"job-{seq}", 1, lane, seq, 0, 0, 0, "{}", None, None)


def swept(now: float, *, are_kept: bool = True) -> LowWaterMarks:
    marks = LowWaterMarks(are_kept=are_kept)
    marks.begin(now)
    marks.end(now, 0.0)
    marks.begin(now)
    return marks


def test_a_runner_that_is_behind_starts_at_the_last_place_and_one_that_keeps_up_a_moment_before() -> None:
    marks = swept(10.0)
    marks.note([claimed(1, 50)], room=1, now=10.1)
    assert (marks.start(1, 10.2), marks.start(2, 10.2)) == (50, 0)
    marks.note([], room=1, now=10.3)
    assert marks.start(1, 10.3) == 0
    assert marks.start(1, 10.15 + LAG) == 0
    assert marks.start(1, 10.2 + 2 * LAG) == 50


def test_a_mark_never_goes_back() -> None:
    marks = swept(10.0)
    marks.note([claimed(1, 50)], room=1, now=10.1)
    marks.note([claimed(1, 20)], room=1, now=10.2)  # committed late
    assert marks.sharp(1) == 50


def test_a_sweep_looks_from_the_beginning_and_is_paced_by_its_cost() -> None:
    marks = swept(10.0)
    marks.note([claimed(1, 50)], room=1, now=10.1)
    marks.begin(10.0 + SWEEP_INTERVAL)
    assert marks.start(1, 10.0 + SWEEP_INTERVAL) == 0
    marks.end(12.5, seconds=0.5)
    assert marks.next_sweep == 12.5 + SWEEP_SHARE * 0.5
    marks.begin(12.6)
    assert marks.start(1, 12.6) == 50


def test_where_nothing_stays_in_the_index_no_mark_is_kept() -> None:
    marks = swept(10.0, are_kept=False)
    marks.note([claimed(1, 50)], room=1, now=10.1)
    assert (marks.start(1, 10.2), marks.sharp(1)) == (0, 0)
