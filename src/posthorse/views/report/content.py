"""What a report holds: figures of a span, those of the span before, and what follows from them in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from posthorse.views.base import View
from posthorse.views.figures import DepthPoint, ErrorGroup, FigureRow, ReleaseMark

ReportBy = Literal["kind", "queue", "day", "hour", "tenant", "error"]
"""What the main table of a report has a row for."""

TimeStep = Literal["minute", "hour", "day"]
TIME_STEPS: dict[TimeStep, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
"""What is drawn over time has a bar or a point for each of these."""

MINUTES_STAY = timedelta(days=2)
HOURS_STAY = timedelta(days=90)
"""Minutes are folded into hours then, and hours into days."""

MAX_MINUTES = timedelta(hours=3)
MAX_HOURS = timedelta(days=8)
"""Spans up to here are drawn by minute and by hour."""

MAX_SLOWEST = 10
MAX_STEPS = 160
"""Points of what is drawn over time, and shown in JSON: workers sample depths every fifteen seconds."""

MAX_DEPTH = 10_000
"""Depths are counted up to here for each queue."""


class Totals(View, frozen=True, kw_only=True):
    """The sums of a span. ended: jobs that are over; busy: seconds that attempts ran, added up."""

    started: int
    completed: int
    failed: int
    retried: int
    lost: int
    cancelled: int
    ended: int
    busy: float

    @classmethod
    def of(cls, rows: Iterable[FigureRow]) -> Self:
        """Add up rows."""
        rows = list(rows)
        return cls(
            started=sum(row.started for row in rows),
            completed=sum(row.completed for row in rows),
            failed=sum(row.failed for row in rows),
            retried=sum(row.retried for row in rows),
            lost=sum(row.lost for row in rows),
            cancelled=sum(row.cancelled for row in rows),
            ended=sum(map(ended, rows)),
            busy=round(sum(map(busy_seconds, rows)), 3),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.started or self.ended or self.retried or self.lost)


class WeekHour(View, frozen=True, kw_only=True):
    """An hour of the week in UTC: how many jobs ended in it on average. weekday: from Monday = 0."""

    weekday: int
    hour: int
    ended: float


class WaitingJobs(View, frozen=True, kw_only=True):
    """How many jobs waited in all queues: the least, the mean and the most within a step of time, and when the most."""

    at: datetime
    least: int
    mean: float
    most: int


class Report(View, frozen=True, kw_only=True):
    """What happened between two moments.

    sentences: the most important, in words. before: the sums of as long a span before; None if it has no figures.
    rows: of the group `by`; none if that is `error`. slowest: kinds by the p99 of how long they ran. changes: what is
    different from the span before. over_time: by minute, hour or day. week: empty for spans of less
    than two days. waiting and depths: in steps of a part of the span; depths are the deepest of each queue and step.
    """

    since: datetime
    until: datetime
    complete_until: datetime
    by: ReportBy
    sentences: list[str]
    totals: Totals
    before: Totals | None
    rows: list[FigureRow]
    slowest: list[FigureRow]
    errors: list[ErrorGroup]
    changes: list[str]
    releases: list[ReleaseMark]
    over_time_by: TimeStep
    over_time: list[FigureRow]
    week: list[WeekHour]
    waiting: list[WaitingJobs]
    depths: list[DepthPoint]

    def is_new(self, error: ErrorGroup) -> bool:
        """Whether an error occurred for the first time in this span."""
        return error.first_at >= self.since

    def errors_over_time(self, error: ErrorGroup) -> list[float]:
        """Return how often an error occurred in each step of what is drawn over time."""
        counts = {each.began_at: float(each.count) for each in error.over_time}
        return [counts.get(row.began_at, 0.0) for row in self.over_time if row.began_at is not None]

    @property
    def step(self) -> timedelta:
        """How long each row over time is."""
        return TIME_STEPS[self.over_time_by]

    @property
    def has_figures(self) -> bool:
        """Whether anything was counted in the span, or an error or a depth recorded."""
        return not self.totals.is_empty or bool(self.errors or self.depths)


def step_of(since: datetime, until: datetime, now: datetime) -> TimeStep:
    """Return what a span is drawn by: the finest of which its figures are left, without too many points."""
    if until - since <= MAX_MINUTES and now - since <= MINUTES_STAY:
        return "minute"
    return "hour" if until - since <= MAX_HOURS and has_hours(since, now) else "day"


def has_hours(since: datetime, now: datetime) -> bool:
    """Return whether figures by hour are left of all the time since a moment."""
    return now - since <= HOURS_STAY


def ended(row: FigureRow) -> int:
    """Return how many jobs were over."""
    return row.completed + row.failed + row.cancelled


def busy_seconds(row: FigureRow) -> float:
    """Return for how many seconds attempts ran, added up."""
    return 0.0 if row.ran is None else row.ran.mean * (row.completed + row.failed + row.retried)


def by_size(rows: Iterable[FigureRow]) -> list[FigureRow]:
    """Return rows of names, the one of which most jobs ended first."""
    return sorted(rows, key=lambda row: (-ended(row), -row.started, row.key))


def slowest(kinds: Iterable[FigureRow]) -> list[FigureRow]:
    """Return the kinds whose slowest attempts took longest."""
    measured = [(row.ran.p99, row.key, row) for row in kinds if row.ran is not None]
    return [row for _, _, row in sorted(measured, key=lambda each: (-each[0], each[1]))][:MAX_SLOWEST]


def merged_rows(rows: Sequence[FigureRow], most: int) -> list[FigureRow]:
    """Return at most so many rows; the last then stands for all that follow, without their times."""
    if len(rows) <= most:
        return list(rows)
    shown, others = rows[: most - 1], rows[most - 1 :]
    total = Totals.of(others)
    return [
        *shown,
        FigureRow(
            key=f"and {len(others):,} others",
            began_at=None,
            started=total.started,
            completed=total.completed,
            failed=total.failed,
            retried=total.retried,
            lost=total.lost,
            cancelled=total.cancelled,
            rate=sum(row.rate for row in others),
            waited=None,
            ran=None,
        ),
    ]


def week_of(hours: Iterable[FigureRow], since: datetime, until: datetime) -> list[WeekHour]:
    """Return what an average week looks like, from rows by hour.

    The first and the last hour are known in part. If there is no whole one for the same hour of the week, the larger is
    taken: of seven days, they are parts of one hour.
    """
    whole: dict[tuple[int, int], list[int]] = {}
    parts: dict[tuple[int, int], float] = {}
    for row in hours:
        if row.began_at is None:
            continue
        at = row.began_at.astimezone(UTC)
        place = (at.weekday(), at.hour)
        if at >= since and at + timedelta(hours=1) <= until:
            whole.setdefault(place, []).append(ended(row))
        else:
            parts[place] = max(parts.get(place, 0), ended(row))
    found = parts | {place: sum(counts) / len(counts) for place, counts in whole.items()}
    return [
        WeekHour(weekday=weekday, hour=hour, ended=round(count, 3)) for (weekday, hour), count in sorted(found.items())
    ]


def with_empty_ones(rows: Iterable[FigureRow], since: datetime, until: datetime, step: timedelta) -> list[FigureRow]:
    """Return rows by time, with one for each step from the first row on in which nothing happened.

    Before the first row there was perhaps no worker that counted, so nothing is said about that time.
    """
    known = {row.began_at.astimezone(UTC): row for row in rows if row.began_at is not None}
    if not known:
        return []
    found: list[FigureRow] = []
    at = min(known)
    while at < until:
        found.append(known.get(at) or _nothing_at(at))
        at += step
    return found


def _nothing_at(at: datetime) -> FigureRow:
    return FigureRow(
        key=at.isoformat().replace("+00:00", "Z"),
        began_at=at,
        started=0,
        completed=0,
        failed=0,
        retried=0,
        lost=0,
        cancelled=0,
        rate=0.0,
        waited=None,
        ran=None,
    )


def waiting_over_time(depths: Iterable[DepthPoint], since: datetime, step: timedelta) -> list[WaitingJobs]:
    """Return how many jobs waited in all queues together; the samples of one step are one point."""
    together: dict[datetime, int] = {}
    for point in depths:
        together[point.at] = together.get(point.at, 0) + point.waiting
    steps: dict[int, list[tuple[datetime, int]]] = {}
    for at, waiting in sorted(together.items()):
        steps.setdefault((at - since) // step, []).append((at, waiting))
    found: list[WaitingJobs] = []
    for samples in steps.values():
        counts = [waiting for _, waiting in samples]
        deepest_at, most = max(samples, key=lambda sample: sample[1])
        found.append(WaitingJobs(at=deepest_at, least=min(counts), mean=round(sum(counts) / len(counts), 3), most=most))
    return found


def deepest(depths: Iterable[DepthPoint], since: datetime, step: timedelta) -> list[DepthPoint]:
    """Return of each queue the deepest sample of each step."""
    found: dict[tuple[str, int], DepthPoint] = {}
    for point in depths:
        place = (point.queue, (point.at - since) // step)
        if place not in found or point.waiting > found[place].waiting:
            found[place] = point
    return sorted(found.values(), key=lambda point: (point.at, point.queue))
