"""A line over time with a band around it, such as the median with the way from the quickest to the slowest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from posthorse.views.pictures.frame import Frame, Mark
from posthorse.views.pictures.scales import Scale, TimeAxis
from posthorse.views.pictures.svg import element, path, plain
from posthorse.views.quantities import minute

MAX_DOTS = 60
"""Up to so many points, each has a dot."""


class Point(NamedTuple):
    """A value at a moment, between two others: low ≤ value ≤ high."""

    at: datetime
    low: float
    value: float
    high: float


def line(
    name: str,
    title: str,
    description: str,
    *,
    times: TimeAxis,
    values: Scale,
    points: Sequence[Point],
    said: Callable[[Point], str],
    longest_gap: timedelta,
    marks: Sequence[Mark] = (),
) -> str:
    """Draw points in the order of their times. Those further apart than `longest_gap` are not joined, because nothing
    is known between them. `said` tells of a point what is shown when it is pointed at.
    """
    frame = Frame(times, values)
    content: list[str] = []
    for stretch in _stretches(points, longest_gap):
        if len(stretch) > 1:
            above = [(frame.x(point.at), frame.y(point.high)) for point in stretch]
            below = [(frame.x(point.at), frame.y(point.low)) for point in stretch]
            content.append(element("path", d=path([*above, *reversed(below)], is_closed=True), class_="band"))
            content.append(
                element("path", d=path((frame.x(point.at), frame.y(point.value)) for point in stretch), class_="line")
            )
        elif stretch[0].high > stretch[0].low:
            x = frame.x(stretch[0].at)
            content.append(
                element("line", x1=x, x2=x, y1=frame.y(stretch[0].high), y2=frame.y(stretch[0].low), class_="reach")
            )
        for point in stretch:
            radius = 2.5 if len(stretch) == 1 or len(points) <= MAX_DOTS else 1.0
            content.append(
                element(
                    "circle",
                    element("title", plain(f"{minute(point.at)}: {said(point)}")),
                    cx=frame.x(point.at),
                    cy=frame.y(point.value),
                    r=radius,
                    class_="dot",
                )
            )
    return frame.drawn(name, title, description, content, marks)


def _stretches(points: Sequence[Point], longest_gap: timedelta) -> Iterator[list[Point]]:
    stretch: list[Point] = []
    for point in points:
        if stretch and point.at - stretch[-1].at > longest_gap:
            yield stretch
            stretch = []
        stretch.append(point)
    if stretch:
        yield stretch
