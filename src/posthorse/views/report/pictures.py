"""The pictures of a report, each with a question that it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from posthorse.views.figures import FigureRow, Spread
from posthorse.views.pictures.bars import Bar, bars
from posthorse.views.pictures.frame import Mark
from posthorse.views.pictures.heat_maps import heat_map
from posthorse.views.pictures.lines import Point, line
from posthorse.views.pictures.scales import TimeAxis, counts, durations
from posthorse.views.quantities import counted, minute, seconds_as_text, short_count
from posthorse.views.report.content import MAX_DEPTH, MAX_STEPS, Report

LONGEST_GAP = timedelta(minutes=75)
"""Samples of depths are joined up to here: of those that are old, one minute of each hour is left."""


class Picture(NamedTuple):
    """A picture with its caption. legend: classes of the page, each with the word for it."""

    heading: str
    question: str
    svg: str
    legend: tuple[str, ...] = ()


def pictures(report: Report) -> list[Picture]:
    """Return the pictures for which there are figures."""
    times = TimeAxis(report.since, report.until)
    return [
        *_ends(report, times),
        *_trouble(report, times),
        *_depth(report, times),
        *_times(report, times, "waited", "How long jobs waited", lambda row: row.waited),
        *_times(report, times, "ran", "How long attempts ran", lambda row: row.ran),
        *_week(report),
    ]


def _ends(report: Report, times: TimeAxis) -> Iterator[Picture]:
    sorts = ("completed", "cancelled", "failed")
    stacks = [Bar(row.began_at, (row.completed, row.cancelled, row.failed)) for row in report.over_time if row.began_at]
    heading = f"Jobs that ended, by {report.over_time_by}"
    if any(sum(stack.parts) for stack in stacks):
        yield _stacked(report, times, "ends", heading, "How much is done, and does it keep up?", sorts, stacks)


def _trouble(report: Report, times: TimeAxis) -> Iterator[Picture]:
    sorts = ("retried", "lost", "failed")
    stacks = [Bar(row.began_at, (row.retried, row.lost, row.failed)) for row in report.over_time if row.began_at]
    heading = f"Trouble, by {report.over_time_by}"
    question = "Attempts retried or lost, jobs failed for good: when did it begin?"
    if any(sum(stack.parts) for stack in stacks):
        yield _stacked(report, times, "trouble", heading, question, sorts, stacks)


def _stacked(
    report: Report,
    times: TimeAxis,
    name: str,
    heading: str,
    question: str,
    sorts: tuple[str, ...],
    stacks: Sequence[Bar],
) -> Picture:
    largest = max(stacks, key=lambda stack: sum(stack.parts))
    sums = [sum(stack.parts[place] for stack in stacks) for place in range(len(sorts))]
    told = ", ".join(f"{count:,} {sort}" for sort, count in zip(sorts, sums, strict=True))
    description = f"{told} in all. The most, {sum(largest.parts):,}, from {minute(largest.began_at)}."
    svg = bars(
        name, heading, description, times=times, width=report.step, sorts=sorts, stacks=stacks, marks=_marks(report)
    )
    return Picture(heading, question, svg, tuple(sort for sort, count in zip(sorts, sums, strict=True) if count))


def _times(
    report: Report, times: TimeAxis, name: str, heading: str, spread: Callable[[FigureRow], Spread | None]
) -> Iterator[Picture]:
    points = [
        Point(_middle(report, row.began_at), of_row.p50, of_row.p90, of_row.p99)
        for row in report.over_time
        if row.began_at is not None and (of_row := spread(row)) is not None
    ]
    if not points:
        return
    slowest = max(points, key=lambda point: point.high)
    description = (
        f"By {report.over_time_by}. The slowest of 100 took longest, {seconds_as_text(slowest.high)}, "
        f"around {minute(slowest.at)}."
    )
    svg = line(
        name,
        heading,
        description,
        times=times,
        values=durations(min(point.low for point in points), slowest.high),
        points=points,
        said=lambda point: (
            f"half {seconds_as_text(point.low)}, 90 of 100 {seconds_as_text(point.value)}, "
            f"99 of 100 {seconds_as_text(point.high)}"
        ),
        longest_gap=1.5 * report.step,
        marks=_marks(report),
    )
    question = f"By {report.over_time_by}: 90 of 100 at most (line), from half to 99 of 100 (band)"
    yield Picture(heading, question, svg)


def _middle(report: Report, began_at: datetime) -> datetime:
    """Return the middle of what a row counts: the first may begin before the span, and the last end after it."""
    begin, end = max(began_at, report.since), min(began_at + report.step, report.until)
    return begin + (end - begin) / 2


def _depth(report: Report, times: TimeAxis) -> Iterator[Picture]:
    deepest = max(report.waiting, key=lambda each: each.most, default=None)
    if deepest is None or not deepest.most:
        return
    svg = line(
        "depth",
        "Jobs that waited",
        f"The most, {counted(deepest.most, 'job')}, waited at {minute(deepest.at)}.",
        times=times,
        values=counts(deepest.most),
        points=[Point(each.at, each.least, each.mean, each.most) for each in report.waiting],
        said=lambda point: f"{point.value:,.0f} waited, between {point.low:,.0f} and {point.high:,.0f}",
        longest_gap=max(LONGEST_GAP, 3 * (times.until - times.since) / MAX_STEPS),
        marks=_marks(report),
    )
    is_cut = any(point.waiting >= MAX_DEPTH for point in report.depths)
    cut = f"; of each queue, {MAX_DEPTH:,} are counted at most" if is_cut else ""
    yield Picture("Jobs that waited", f"All queues: mean (line), least and most (band){cut}", svg)


def _week(report: Report) -> Iterator[Picture]:
    values = {(each.weekday, each.hour): each.ended for each in report.week}
    if not any(values.values()):
        return
    (weekday, hour), most = max(values.items(), key=lambda each: each[1])
    day = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")[weekday]
    description = f"Most jobs end on {day} from {hour:02}:00, {short_count(most)} in that hour."
    svg = heat_map("week", "The week, by hour", description, values)
    yield Picture("The week, by hour", "Jobs that ended in an hour: when is there room for more?", svg)


def _marks(report: Report) -> list[Mark]:
    return [
        Mark(mark.first_at, mark.name)
        for mark in sorted(report.releases, key=lambda mark: mark.first_at)
        if report.since <= mark.first_at <= report.until
    ]
