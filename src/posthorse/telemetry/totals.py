"""Totals: what the runners of a worker counted since it started, by queue and kind.

Runners report what they write to the store every ten seconds, so a job costs nothing more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from posthorse.rules.job import State
from posthorse.rules.tallies import OTHER, RAN, Happened, Histogram, bucket_value, decode_histogram
from posthorse.store.operations.tallies import Counted

MAX_SERIES = 200
"""Pairs of queue and kind that are counted apart; a worker with more counts the rest as `other`."""

FINISHED: Mapping[Happened, State] = {
    "completed": State.COMPLETED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
}
"""What counts as the end of a job, with the state in which it left the job."""


class TimeTotals:
    """Times of one sort, in microseconds: their sum and their histogram."""

    __slots__ = ("micros", "over")

    def __init__(self) -> None:
        self.micros = 0
        self.over = Histogram()

    def add(self, micros: int, over: Mapping[int, int]) -> None:
        """Add times that were measured together."""
        self.micros += micros
        for bucket, count in over.items():
            self.over[bucket] = self.over.get(bucket, 0) + count


class KindTotals:
    """What happened to the jobs of a queue and a kind."""

    __slots__ = ("ran", "times", "waited")

    def __init__(self) -> None:
        self.times: dict[Happened, int] = {}
        self.waited = TimeTotals()
        self.ran = TimeTotals()


class WorkerTotals:
    """The sums of one worker."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], KindTotals] = {}
        """By queue and kind."""

    def add(self, counted: Iterable[Counted]) -> None:
        """Add what a runner counted since its last report."""
        for one in counted:
            happened: Happened = one.happened  # type: ignore[assignment]  # as the runner counts it
            series = self._count(one.queue, one.kind, happened, one.times)
            if happened == "started":
                series.waited.add(one.micros, decode_histogram(one.histogram))
            elif happened in RAN:
                series.ran.add(one.micros, decode_histogram(one.histogram))

    def add_lost(self, lanes: Iterable[tuple[str, str]]) -> None:
        """Add attempts that ended with their runner, which could not report them: the queue and kind of each."""
        for queue, kind in lanes:
            self._count(queue, kind, "lost", 1)

    def _count(self, queue: str, kind: str, happened: Happened, times: int) -> KindTotals:
        name = queue, kind
        if name not in self.series and len(self.series) >= MAX_SERIES:
            name = OTHER, OTHER
        series = self.series.setdefault(name, KindTotals())
        series.times[happened] = series.times.get(happened, 0) + times
        return series


def cumulative(over: Mapping[int, int], bounds: Sequence[float]) -> list[int]:
    """Return how many times were at most each bound, in seconds, and how many there are in all.

    A bucket counts as the time in its middle, so a time within 10 % of a bound may count on its other side.
    """
    counts = [0] * (len(bounds) + 1)
    for bucket, count in over.items():
        counts[bisect_left(bounds, bucket_value(bucket) / 1e6)] += count
    for place in range(1, len(counts)):
        counts[place] += counts[place - 1]
    return counts
