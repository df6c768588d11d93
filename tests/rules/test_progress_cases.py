"""Cases of uneven progress: it says nothing rather than something invented, and recovers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest

from posthorse.rules.progress import Pace, Progress, progress_at

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
Slice = tuple[int, float]  # items, seconds


def paced(slices: list[Slice]) -> Pace:
    pace = Pace()
    for items, seconds in slices:
        pace = Pace.decode(pace.observe(items, seconds).encode())
    return pace


def seconds_left(progress: Progress) -> float:
    assert progress.eta
    return (progress.eta - NOON).total_seconds()


def range_of(progress: Progress) -> tuple[float, float]:
    assert progress.eta_range
    earliest, latest = ((moment - NOON).total_seconds() for moment in progress.eta_range)
    return earliest, latest


def test_without_a_total_there_are_a_rate_and_a_count_and_no_finish_time() -> None:
    progress = progress_at(500, None, paced([(10, 1.0)] * 50), NOON)
    assert progress.done == 500
    assert progress.rate == pytest.approx(10, rel=0.01)
    assert (progress.eta, progress.eta_range, progress.remaining) == (None, None, None)


def test_two_slices_are_too_few_to_foretell_anything() -> None:
    assert progress_at(20, 100, paced([(10, 1.0)] * 2), NOON).eta is None
    assert progress_at(30, 100, paced([(10, 1.0)] * 3), NOON).eta is not None


def test_finish_time_follows_a_total_that_grows_or_shrinks() -> None:
    pace = paced([(10, 1.0)] * 50)
    left = [seconds_left(progress_at(500, total, pace, NOON)) for total in (1000, 2000, 600)]
    assert left == pytest.approx([50, 150, 10], rel=0.02)


def test_a_total_that_shrank_below_what_is_done_leaves_nothing_to_do() -> None:
    progress = progress_at(500, 400, paced([(10, 1.0)] * 50), NOON)
    assert (progress.fraction, progress.remaining, progress.eta) == (1.0, timedelta(0), NOON)


def test_a_long_pause_is_no_work() -> None:
    """Slices are timed individually, so a night between two of them leaves no trace in the store."""
    before = paced([(10, 1.0)] * 20)
    resumed = NOON + timedelta(hours=9)
    progress = progress_at(200, 400, before, resumed, since=resumed)
    assert progress.eta
    assert (progress.eta - resumed).total_seconds() == pytest.approx(20, rel=0.02)
    assert progress_at(200, 400, before, resumed, since=NOON, running=False).eta is None


def test_a_slice_that_was_lost_and_repeated_counts_once() -> None:
    """A killed process commits no slice: the next attempt finds the same pace."""
    committed = paced([(10, 1.0)] * 20)
    repeated = Pace.decode(committed.encode()).observe(10, 1.0)
    assert repeated == paced([(10, 1.0)] * 21)
    assert seconds_left(progress_at(210, 420, repeated, NOON)) == pytest.approx(21, rel=0.02)


def test_an_overdue_slice_moves_the_finish_time_on_and_never_into_the_past() -> None:
    pace = paced([(10, 1.0)] * 20)
    moments = [NOON + timedelta(seconds=elapsed) for elapsed in (1, 2, 5, 30, 600, 86_400)]
    told = [progress_at(200, 210, pace, now, since=NOON) for now in moments]
    for now, progress in zip(moments, told, strict=True):
        assert progress.eta
        assert progress.eta_range
        assert now <= progress.eta_range[0] <= progress.eta <= progress.eta_range[1]
    assert all(earlier < later for earlier, later in pairwise(seconds_left(progress) for progress in told))


def test_slices_that_become_ten_times_as_dear_at_the_half_are_believed_soon() -> None:
    """Nothing shows it before. Once a tenth of the job was done at the new cost, the true end is in the range."""
    slices = [(10, 0.1)] * 100 + [(10, 1.0)] * 100
    before, after = (progress_at(10 * n, 2000, paced(slices[:n]), NOON) for n in (100, 120))
    assert range_of(before)[1] < 100
    assert range_of(after)[0] <= 80 <= range_of(after)[1]


def test_a_short_slowdown_is_soon_forgiven() -> None:
    slices = [(10, 0.1)] * 100 + [(10, 0.5)] * 5 + [(10, 0.1)] * 40
    for n in range(110, 146):
        earliest, latest = range_of(progress_at(10 * n, 2500, paced(slices[:n]), NOON))
        assert earliest <= 0.1 * (250 - n) <= latest, n
    assert seconds_left(progress_at(1450, 2500, paced(slices), NOON)) < 10.5 * 1.25


def test_slices_of_unequal_size_are_weighed_by_their_items() -> None:
    random = Random(1)
    sizes = [random.choice((1, 10, 100)) for _ in range(400)]
    pace = paced([(size, 0.01 * size) for size in sizes[:200]])
    progress = progress_at(sum(sizes[:200]), sum(sizes), pace, NOON)
    assert seconds_left(progress) == pytest.approx(0.01 * sum(sizes[200:]), rel=0.02)


def test_items_of_unequal_weight_widen_the_range() -> None:
    random = Random(1)
    even = progress_at(500, 1000, paced([(10, 1.0)] * 50), NOON)
    uneven = progress_at(500, 1000, paced([(10, random.choice((0.2, 0.2, 0.2, 3.4))) for _ in range(50)]), NOON)
    (low, high), (lower, higher) = range_of(even), range_of(uneven)
    assert higher - lower > 2 * (high - low)
