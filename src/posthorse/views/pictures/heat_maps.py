"""A heat map of the week: how much happens at each hour of each day."""

from __future__ import annotations

from collections.abc import Mapping

from posthorse.views.pictures.svg import element, label, picture, plain
from posthorse.views.quantities import short_count

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHADES = 5
"""Shades of what is more than nothing; class `heat-0` is nothing, `heat-5` the most."""

LEFT, TOP = 40.0, 6.0
CELL_WIDTH, CELL_HEIGHT, GAP = 18.0, 22.0, 2.0
WIDTH = LEFT + 24 * CELL_WIDTH + 4
HEIGHT = TOP + 7 * CELL_HEIGHT + 40


def heat_map(name: str, title: str, description: str, values: Mapping[tuple[int, int], float]) -> str:
    """Draw a value for each (day, hour), days from Monday = 0. Hours without a value, of which nothing is known, are
    empty.
    """
    largest = max(values.values(), default=0)
    content = [label(day, LEFT - 8, TOP + row * CELL_HEIGHT + 15, anchor="end") for row, day in enumerate(DAYS)]
    content += [
        label(f"{hour:02}", LEFT + (hour + 0.5) * CELL_WIDTH, TOP + 7 * CELL_HEIGHT + 14, anchor="middle")
        for hour in range(0, 24, 3)
    ]
    content += [
        element(
            "rect",
            element("title", plain(f"{DAYS[row]} {hour:02}:00: {_said(values.get((row, hour)))}")),
            x=LEFT + hour * CELL_WIDTH,
            y=TOP + row * CELL_HEIGHT,
            width=CELL_WIDTH - GAP,
            height=CELL_HEIGHT - GAP,
            rx=2,
            class_=f"heat {shade(values.get((row, hour)), largest)}",
        )
        for row in range(7)
        for hour in range(24)
    ]
    return picture(name, WIDTH, HEIGHT, title, description, *content, *_legend(largest))


def shade(value: float | None, largest: float) -> str:
    """Return the class of a value: unknown, nothing, or one of five shades."""
    if value is None:
        return "heat-unknown"
    if value <= 0 or largest <= 0:
        return "heat-0"
    return f"heat-{min(SHADES, 1 + int(value / largest * SHADES))}"


def _said(value: float | None) -> str:
    return "not known" if value is None else short_count(value)


def _legend(largest: float) -> list[str]:
    y = HEIGHT - 12
    left = WIDTH - 4 - (SHADES + 1) * 14 - 44
    cells = [
        element("rect", x=left + place * 14, y=y - 9, width=12, height=10, rx=2, class_=f"heat heat-{place}")
        for place in range(SHADES + 1)
    ]
    return [label("0", left - 6, y, anchor="end"), *cells, label(short_count(largest), left + (SHADES + 1) * 14 + 4, y)]
