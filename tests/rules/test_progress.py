"""Progress that people see while a job runs, replayed with jobs whose end is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorse.rules.progress import Pace, Progress, progress_at

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
Slice = tuple[int, float]  # items, seconds


def paced(*slices: Slice) -> Pace:
    pace = Pace()
    for items, seconds in slices:
        pace = pace.observe(items, seconds)
    return pace


def seconds_until(at: datetime | None) -> float:
    assert at is not None
    return (at - NOON).total_seconds()


# The figures


def test_a_job_that_has_not_begun_shows_zero_and_knows_nothing() -> None:
    assert Progress() == progress_at(0, None, Pace(), NOON) == Progress(done=0)


def test_finish_time_is_told_from_the_third_slice_on() -> None:
    known = [progress_at(10 * n, 100, paced(*[(10, 1.0)] * n), NOON).eta is not None for n in range(5)]
    assert known == [False, False, False, True, True]


def test_finish_time_needs_a_total() -> None:
    progress = progress_at(500, None, paced(*[(10, 1.0)] * 50), NOON)
    assert progress.rate == pytest.approx(10, rel=0.001)
    assert (progress.remaining, progress.eta, progress.fraction) == (None, None, None)


def test_steady_slices_give_their_plain_sum() -> None:
    progress = progress_at(5_000, 20_000, paced(*[(100, 2.0)] * 50), NOON)
    assert progress.rate == pytest.approx(50, rel=0.001)
    assert progress.fraction == 0.25
    assert seconds_until(progress.eta) == pytest.approx(300, rel=0.01)
    assert progress.remaining == progress.eta - NOON if progress.eta else False


def test_range_holds_the_finish_time_between_its_ends() -> None:
    progress = progress_at(5_000, 20_000, paced(*[(100, 2.0)] * 50), NOON)
    assert progress.eta
    assert progress.eta_range
    assert NOON < progress.eta_range[0] < progress.eta < progress.eta_range[1]


def test_finished_job_shows_when_it_finished() -> None:
    an_hour_ago = NOON - timedelta(hours=1)
    progress = progress_at(30, 30, paced((30, 1.0)), NOON, since=an_hour_ago, running=False)
    assert progress.eta == an_hour_ago
    assert progress.eta_range == (an_hour_ago, an_hour_ago)
    assert progress.remaining == timedelta(0)


def test_more_done_than_the_total_is_whole_and_leaves_both_figures_alone() -> None:
    progress = progress_at(120, 100, paced(*[(40, 1.0)] * 3), NOON)
    assert (progress.done, progress.total, progress.fraction) == (120, 100, 1.0)
    assert progress.eta == NOON


def test_an_empty_job_is_complete() -> None:
    assert progress_at(0, 0, Pace(), NOON).fraction == 1.0


def test_paused_job_has_work_left_but_no_finish_time() -> None:
    progress = progress_at(50, 100, paced(*[(10, 1.0)] * 5), NOON, running=False)
    assert (progress.eta, progress.eta_range) == (None, None)
    assert progress.remaining is not None
    assert progress.remaining.total_seconds() == pytest.approx(5, rel=0.02)


def test_rate_follows_the_last_slices() -> None:
    assert paced(*[(10, 1.0)] * 200, *[(10, 2.0)] * 40).rate == pytest.approx(5, rel=0.05)


def test_slices_that_found_no_items_do_not_break_the_figures() -> None:
    assert progress_at(0, 100, paced(*[(0, 1.0)] * 5), NOON).eta is None
    progress = progress_at(30, 100, paced((0, 1.0), *[(10, 1.0)] * 3, (0, 1.0)), NOON)
    assert 0 < seconds_until(progress.eta) < 15


def test_a_clock_that_stands_still_gives_no_infinite_rate() -> None:
    progress = progress_at(30, 100, paced(*[(10, 0.0)] * 3), NOON)
    assert progress.rate is None
    assert progress.eta == NOON


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0, 1e308])
def test_impossible_times_count_as_none(seconds: float) -> None:
    assert paced((10, 1.0), (10, seconds)) == paced((10, 1.0), (10, 0.0))


def test_a_forecast_of_centuries_is_kept_back() -> None:
    assert progress_at(3, 10**15, paced(*[(1, 3600.0)] * 3), NOON).eta is None


def test_the_last_days_of_the_calendar_are_no_overflow() -> None:
    last_night = datetime.max.replace(tzinfo=UTC) - timedelta(hours=1)
    progress = progress_at(30, 10_000, paced(*[(10, 60.0)] * 3), last_night)
    assert progress.eta == datetime.max.replace(tzinfo=UTC)


# While a slice runs


def test_finish_time_stands_still_while_the_slice_takes_its_usual_time() -> None:
    pace = paced(*[(10, 4.0)] * 10)
    ends = [progress_at(100, 200, pace, NOON + timedelta(seconds=elapsed), since=NOON).eta for elapsed in (0, 1, 4)]
    assert ends[0] == ends[1] == ends[2]


def test_finish_time_moves_on_when_a_slice_is_overdue() -> None:
    pace = paced(*[(10, 4.0)] * 10)
    ends = [
        seconds_until(progress_at(100, 200, pace, NOON + timedelta(seconds=elapsed), since=NOON).eta)
        for elapsed in (4, 5, 6, 8, 16, 64, 3600)
    ]
    assert all(earlier < later for earlier, later in pairwise(ends))
    assert ends[-1] == pytest.approx(3600 + 40, abs=1)  # all of the work is still to be done


def test_latest_finish_time_allows_a_stuck_slice_as_long_again() -> None:
    hour = timedelta(hours=1)
    progress = progress_at(100, 200, paced(*[(10, 4.0)] * 10), NOON + hour, since=NOON)
    assert progress.eta_range
    assert progress.eta_range[1] > NOON + 2 * hour


def test_a_clock_that_stepped_back_changes_nothing() -> None:
    pace = paced(*[(10, 4.0)] * 10)
    stepped = progress_at(100, 200, pace, NOON, since=NOON + timedelta(hours=1))
    assert stepped == progress_at(100, 200, pace, NOON, since=NOON)


# The record


def test_pace_survives_its_text_form() -> None:
    pace = paced(*[(1000, 0.1 + n / 7) for n in range(100)])
    assert Pace.decode(pace.encode()) == pace


def test_pace_stays_small_however_long_the_job() -> None:
    random, pace, longest = Random(1), Pace(), 0
    for _ in range(20_000):
        pace = pace.observe(random.randrange(1, 1_000_000), random.uniform(0.001, 1000))
        longest = max(longest, len(pace.encode()))
    assert longest < 400


def test_pace_forgets_neither_items_nor_seconds() -> None:
    pace = paced(*[(7, 0.25)] * 10_000)
    assert sum(items for items, _ in pace.stretches()) == 70_000
    assert sum(seconds for _, seconds in pace.stretches()) == pytest.approx(2_500, rel=0.001)


def test_items_that_were_undone_do_not_count() -> None:
    assert sum(items for items, _ in paced((10, 1.0), (-5, 1.0), (10, 1.0)).stretches()) == 20


def test_tiny_first_slices_do_not_crowd_out_the_rest() -> None:
    pace = paced(*[(1, 0.01)] * 15, *[(1000, 1.0)] * 100)
    assert len(pace.stretches()) >= 5
    assert max(items for items, _ in pace.stretches()[:-1]) < 30_000


wild_seconds = st.floats(allow_nan=True, allow_infinity=True)
wild_slices = st.lists(st.tuples(st.integers(-5, 10**9), wild_seconds | st.floats(0, 100)), max_size=40)


@example(slices=[(2, 1e-308)], done=0, total=None, elapsed=0.0, running=False)
@given(
    slices=wild_slices,
    done=st.integers(-10, 10**10),
    total=st.none() | st.integers(-10, 10**12),
    elapsed=st.floats(-1e6, 1e6),
    running=st.booleans(),
)
def test_no_figure_is_ever_negative_infinite_or_not_a_number(
    slices: list[Slice], done: int, total: int | None, elapsed: float, running: bool
) -> None:
    pace = Pace.decode(paced(*slices).encode())
    since = NOON - timedelta(seconds=elapsed)
    progress = progress_at(done, total, pace, NOON, since=since, running=running)
    assert progress.done >= 0
    assert progress.total is None or progress.total >= 0
    assert progress.fraction is None or 0 <= progress.fraction <= 1
    assert progress.rate is None or (math.isfinite(progress.rate) and progress.rate >= 0)
    assert progress.remaining is None or progress.remaining >= timedelta(0)
    assert (progress.eta is None) == (progress.eta_range is None)
    if progress.eta and progress.eta_range:
        assert progress.eta_range[0] <= progress.eta <= progress.eta_range[1]
        assert progress.done >= (progress.total or 0) or progress.eta_range[0] >= NOON
    assert str(progress)


# For people


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (Progress(), "0 done"),
        (Progress(done=4200, rate=12.5), "4,200 done, 12/s"),
        (Progress(done=999, total=1000), "999 of 1,000 (99%)"),
        (Progress(done=1000, total=1000, remaining=timedelta(0)), "1,000 of 1,000 (100%)"),
        (Progress(done=1, note="reading the file"), "1 done: reading the file"),
        (
            Progress(
                done=420_000,
                total=1_000_000,
                rate=1250,
                remaining=timedelta(minutes=8),
                eta=NOON + timedelta(minutes=8),
                eta_range=(NOON + timedelta(minutes=7), NOON + timedelta(minutes=9, seconds=30)),
            ),
            "420,000 of 1,000,000 (42%), 1,250/s, 8m left (7m to 9m30s)",
        ),
        (
            Progress(done=1, total=10, rate=0.125, remaining=timedelta(seconds=72)),
            "1 of 10 (10%), 0.12/s, 1m12s left",
        ),
    ],
)
def test_progress_reads_as_a_sentence(progress: Progress, sentence: str) -> None:
    assert str(progress) == sentence


# Replays: jobs whose end is known, asked again and again while they run

Job = Callable[[Random, int], list[Slice]]
REPLAYS = 100
MARKS = (0.25, 0.4, 0.55, 0.7, 0.85)


def noisy(sigma: float) -> Job:
    def job(random: Random, slices: int) -> list[Slice]:
        return [(1000, 0.1 * math.exp(random.gauss(0, sigma))) for _ in range(slices)]

    job.__name__ = f"noisy by {sigma}"
    return job


def constant(random: Random, slices: int) -> list[Slice]:
    return [(1000, 0.1 * random.uniform(0.97, 1.03)) for _ in range(slices)]


def drifting(end: float) -> Job:
    """A slice costs `end` times as much at the end as at the start."""

    def job(random: Random, slices: int) -> list[Slice]:
        costs = [0.1 * (1 + (end - 1) * n / slices) for n in range(slices)]
        return [(1000, cost * math.exp(random.gauss(0, 0.15))) for cost in costs]

    job.__name__ = f"drifting to {end}"
    return job


def wandering(random: Random, slices: int) -> list[Slice]:
    """Return slices under other load: the cost drifts by about a fifth over the whole job."""
    speed, job = 0.0, list[Slice]()
    for _ in range(slices):
        speed += random.gauss(0, 0.2 / math.sqrt(slices))
        job.append((1000, 0.1 * math.exp(speed + random.gauss(0, 0.15))))
    return job


def two_kinds(random: Random, slices: int) -> list[Slice]:
    """Return slices of which a fifth costs four times as much."""
    return [(1000, random.choice([0.1, 0.1, 0.1, 0.1, 0.4]) * random.uniform(0.9, 1.1)) for _ in range(slices)]


def stalling(random: Random, slices: int) -> list[Slice]:
    """Return slices of which one waits for a lock or a garbage collection now and then."""
    return [
        (1000, 0.1 * random.uniform(0.9, 1.1) + (random.uniform(0.1, 0.5) if random.random() < 0.02 else 0))
        for _ in range(slices)
    ]


def growing_sizes(random: Random, slices: int) -> list[Slice]:
    """Return adaptive slices: a fixed cost for each and one for every item, with sizes that settle on a given time."""
    size, job = 10, list[Slice]()
    for _ in range(slices):
        seconds = (0.01 + size * 0.0001) * math.exp(random.gauss(0, 0.2))
        job.append((size, seconds))
        size = min(1000, max(1, round(size * min(2.0, max(0.5, 0.1 / seconds)))))
    return job


def mixed_sizes(random: Random, slices: int) -> list[Slice]:
    sizes = [random.choice([100, 500, 1000]) for _ in range(slices)]
    return [(size, (0.03 + size * 0.0001) * math.exp(random.gauss(0, 0.15))) for size in sizes]


def half_speed_from_somewhere(random: Random, slices: int) -> list[Slice]:
    change = random.uniform(0, slices)
    return [(1000, (0.2 if n > change else 0.1) * math.exp(random.gauss(0, 0.15))) for n in range(slices)]


def cold_start(random: Random, slices: int) -> list[Slice]:
    return [(1000, 0.1 * random.uniform(0.9, 1.1) * (1 + 5 * math.exp(-n / 3))) for n in range(slices)]


def said(job: Job | int) -> str:
    return str(getattr(job, "__name__", job))


@dataclass(frozen=True)
class Verdict:
    hits: list[int]  # at each mark: replays whose true end lay within the range
    widths: list[float]  # at each mark: the median width of the range, as a share of what truly remained
    misses: list[float]  # at each mark: the median error of the finish time, likewise


def replayed(job: Job, slices: int) -> Verdict:
    hits = [0] * len(MARKS)
    widths: list[list[float]] = [[] for _ in MARKS]
    misses: list[list[float]] = [[] for _ in MARKS]
    for seed in range(REPLAYS):
        random = Random(seed)
        timings = job(random, slices)
        total = sum(items for items, _ in timings)
        end = sum(seconds for _, seconds in timings) + 0.003  # the completion's own commit
        pace, done, at, mark = Pace(), 0, 0.0, 0
        for (items, seconds), (_, next_seconds) in pairwise(timings):
            pace, done, at = pace.observe(items, seconds), done + items, at + seconds
            if mark == len(MARKS) or done < MARKS[mark] * total:
                continue
            asked = at + random.random() * next_seconds  # somewhere within the slice that runs now
            progress = progress_at(
                done, total, pace, NOON + timedelta(seconds=asked), since=NOON + timedelta(seconds=at)
            )
            assert progress.eta_range
            earliest, latest = map(seconds_until, progress.eta_range)
            hits[mark] += earliest <= end <= latest
            widths[mark].append((latest - earliest) / (end - asked))
            misses[mark].append(abs(seconds_until(progress.eta) - end) / (end - asked))
            mark += 1
    return Verdict(hits, [median(each) for each in widths], [median(each) for each in misses])


@pytest.mark.parametrize(
    ("job", "slices"),
    [
        (constant, 40),
        (constant, 1000),
        (noisy(0.1), 60),
        (noisy(0.2), 100),
        (noisy(0.3), 400),
        (noisy(0.5), 1000),
        (drifting(1.3), 200),
        (drifting(1.5), 500),
        (drifting(0.8), 400),
        (wandering, 200),
        (wandering, 1000),
        (stalling, 400),
        (two_kinds, 1000),
        (growing_sizes, 300),
        (mixed_sizes, 300),
        (cold_start, 500),
    ],
    ids=said,
)
def test_true_end_lies_in_a_narrow_range_in_nine_of_ten_replays(job: Job, slices: int) -> None:
    verdict = replayed(job, slices)
    assert min(verdict.hits) >= 0.9 * REPLAYS, verdict
    assert max(verdict.widths) <= 1.0, verdict
    assert median(verdict.widths) <= 0.5, verdict
    assert max(verdict.widths[-3:]) <= 0.5, verdict


@pytest.mark.parametrize(
    ("job", "slices"),
    [
        (noisy(0.8), 40),
        (two_kinds, 40),
        (drifting(3.0), 200),
        (drifting(0.4), 200),
        (half_speed_from_somewhere, 200),
        (cold_start, 24),
    ],
    ids=said,
)
def test_erratic_jobs_get_a_wide_range_rather_than_a_wrong_one(job: Job, slices: int) -> None:
    verdict = replayed(job, slices)
    assert sum(verdict.hits) >= 0.6 * REPLAYS * len(MARKS), verdict


def test_range_of_an_even_job_is_narrower_than_that_of_an_uneven_one() -> None:
    even, uneven = replayed(constant, 100).widths, replayed(noisy(0.5), 100).widths
    assert all(narrow < wide for narrow, wide in zip(even, uneven, strict=True))


def test_a_trend_is_followed() -> None:
    """Halfway through a job whose slices become three times as expensive, the plain mean would be 40 % off."""
    halfway = MARKS.index(0.55)
    assert replayed(drifting(3.0), 400).misses[halfway] < 0.1
