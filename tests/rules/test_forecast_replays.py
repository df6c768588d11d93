"""Forecast replays: recorded work is replayed slice by slice, and its finish time, which is known, is forecast.

The recordings are from `bench/record_timings.py`, on a machine with two processors: short ones while it had nothing
else to do, longer ones and those of minutes while it was busy. There is a forecast at every tenth of the items from a
quarter on, when a slice is committed and in the middle of the next one. The true end is the time that slices took,
including those that were lost and repeated; breaks do not count. It is foreseen if it lies within the range at that
moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from pathlib import Path
from statistics import median

import msgspec

from posthorse.rules.progress import Pace, progress_at

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MARKS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the items


class Recording(msgspec.Struct):
    """Slices of real work."""

    job: str
    group: str
    """Its group: "shaped" if later items cost many times what earlier ones do, or a fraction, without any sign."""
    circumstances: str
    items: int | list[int]
    stops: list[tuple[int, int]]  # slice, microseconds that were lost with a slice that was repeated
    micros: list[int]

    def slices(self) -> list[tuple[int, float, float]]:
        """Return (items, seconds, seconds lost before) of each slice."""
        items = [self.items] * len(self.micros) if isinstance(self.items, int) else self.items
        lost = dict(self.stops)
        return [(items[n], micros / 1e6, lost.get(n, 0) / 1e6) for n, micros in enumerate(self.micros)]


@dataclass(frozen=True)
class Answer:
    """A forecast at one moment, in units of the time that really remained."""

    recording: Recording
    earliest: float
    likely: float
    latest: float

    truth: float
    """The time that remained, relative to what it would have been at the average rate of the whole job."""

    @property
    def holds(self) -> bool:
        return self.earliest <= 1.0 <= self.latest

    @property
    def width(self) -> float:
        return self.latest - self.earliest


@cache
def recordings() -> list[Recording]:
    lines = [line for path in Path(__file__).parent.glob("recorded/*.jsonl") for line in path.read_text().splitlines()]
    return [msgspec.json.decode(line, type=Recording) for line in lines]


@cache
def ordinary() -> list[Answer]:
    return [answer for each in recordings() if each.group == "ordinary" for answer in replayed(each)]


@cache
def shaped() -> list[Answer]:
    return [answer for each in recordings() if each.group == "shaped" for answer in replayed(each)]


def replayed(recording: Recording) -> Iterator[Answer]:
    slices = recording.slices()
    total = sum(items for items, _, _ in slices)
    ends = list(accumulate(seconds + lost for _, seconds, lost in slices))
    pace, done, mark = Pace(), 0, 0
    for number, (items, seconds, _) in enumerate(slices[:-1]):
        done += items
        pace = Pace.decode(pace.observe(items, seconds).encode())  # as a new attempt would find it
        if mark == len(MARKS) or done < MARKS[mark] * total or pace.slices < 3:
            continue
        while mark < len(MARKS) and done >= MARKS[mark] * total:
            mark += 1
        for share in (0.0, 0.6):
            committed = NOON + timedelta(seconds=ends[number])
            now = committed + timedelta(seconds=share * (ends[number + 1] - ends[number]))
            progress = progress_at(done, total, pace, now, since=committed)
            assert progress.eta
            assert progress.eta_range
            remains = NOON + timedelta(seconds=ends[-1]) - now
            told = (progress.eta_range[0], progress.eta, progress.eta_range[1])
            at_average = ends[-1] * (1 - done / total) - share * (ends[number + 1] - ends[number])
            truth = remains.total_seconds() / max(at_average, 1e-9)
            earliest, likely, latest = ((moment - now) / remains for moment in told)
            yield Answer(recording, earliest, likely, latest, truth)


def least_width(asked: Iterable[Answer]) -> float:
    """Return how wide one range for all must be to contain nine of ten true ends, if the job's average rate is known.

    It is never known before the end.
    """
    truths = sorted(answer.truth for answer in asked)
    nine_tenths = len(truths) * 9 // 10
    spans = [(truths[n + nine_tenths] - truths[n], n) for n in range(len(truths) - nine_tenths)]
    width, _ = min(spans)
    return median(width / truth for truth in truths)


def share_that_holds(asked: Iterable[Answer]) -> float:
    held = [answer.holds for answer in asked]
    return sum(held) / len(held)


def test_recordings_are_many_and_of_many_kinds() -> None:
    assert len(recordings()) >= 100
    assert len({each.job for each in recordings()}) >= 12
    assert all(40 <= len(each.micros) <= 400 and sum(each.micros) >= 2e6 for each in recordings())


def test_nine_of_ten_ends_lie_within_the_range() -> None:
    assert share_that_holds(ordinary()) >= 0.895


def test_no_kind_of_work_is_foretold_much_worse_than_the_others() -> None:
    for job in {answer.recording.job for answer in ordinary()}:
        assert share_that_holds(answer for answer in ordinary() if answer.recording.job == job) >= 0.6, job


def test_stops_and_lost_slices_do_no_harm() -> None:
    stopped = [answer for answer in ordinary() if answer.recording.stops]
    assert len(stopped) >= 100
    assert share_that_holds(stopped) >= 0.88


def test_ranges_tell_something() -> None:
    assert median(answer.width for answer in ordinary()) <= 0.75
    assert median(abs(answer.likely - 1.0) for answer in ordinary()) <= 0.2


def test_the_ranges_are_no_wider_than_what_the_true_average_rate_would_need() -> None:
    assert median(answer.width for answer in ordinary()) <= least_width(ordinary())


def test_what_nothing_foretells_is_told_at_last() -> None:
    """Files sorted by size, or documents that grow tenfold halfway: wrong before, and better after."""
    answered = [
        (n % (2 * len(MARKS)) // 2, answer)
        for n, answer in enumerate(shaped())
        if answer.recording.job.startswith("documents")
    ]
    before = [answer for mark, answer in answered if MARKS[mark] < 0.5]
    after = [answer for mark, answer in answered if MARKS[mark] >= 0.7]
    assert share_that_holds(before) < 0.3
    assert share_that_holds(after) >= 0.7


def report() -> None:
    """`python -m tests.rules.test_forecast_replays` prints how each kind of work was forecast."""
    for name, asked in (("ordinary", ordinary()), ("shaped", shaped())):
        for job in (*sorted({answer.recording.job for answer in asked}), ""):
            told = [answer for answer in asked if job in ("", answer.recording.job)]
            widths = [answer.width for answer in told]
            print(  # noqa: T201  # it is asked for
                f"{name:9} {job or 'all together':40} {len(told):5} times, {share_that_holds(told):4.0%} within, "
                f"width {median(widths):.2f}, {sum(width <= 0.5 for width in widths) / len(widths):4.0%} up to a half, "
                f"likely end off by {median(abs(answer.likely - 1.0) for answer in told):.2f}, "
                f"in hindsight {least_width(told):.2f}"
            )


if __name__ == "__main__":
    report()
