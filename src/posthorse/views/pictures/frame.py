"""The frame of a picture: the area where values are drawn, its axes, and marks in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from posthorse.views.pictures.scales import Scale, TimeAxis
from posthorse.views.pictures.svg import element, label, picture, plain
from posthorse.views.quantities import minute

WIDTH = 480.0
HEIGHT = 200.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 20.0, 26.0
"""The margins in which the axes are written."""

CHARACTER = 6.8
"""About the width of a character."""

MAX_MARKS = 12
BETWEEN_NAMES = 70.0
"""Names of marks that are closer than this to the one before are left out; the mark itself says it."""

MAX_NAME = 12


class Mark(NamedTuple):
    """A moment that is marked, such as the first start of a release."""

    at: datetime
    name: str


class Frame(NamedTuple):
    """An area with time from left to right, and values from below to above."""

    times: TimeAxis
    values: Scale

    def x(self, at: datetime) -> float:
        """Return where a moment is."""
        return LEFT + self.times.place(at) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value is."""
        return HEIGHT - BOTTOM - self.values.place(value) * (HEIGHT - TOP - BOTTOM)

    def drawn(self, name: str, title: str, description: str, content: Sequence[str], marks: Sequence[Mark] = ()) -> str:
        """Return the picture: axes behind the content, marks in front of it."""
        return picture(name, WIDTH, HEIGHT, title, description, *self._axes(), *content, *self._marks(marks))

    def _axes(self) -> list[str]:
        parts: list[str] = []
        for tick in self.values.ticks:
            y = HEIGHT - BOTTOM - tick.place * (HEIGHT - TOP - BOTTOM)
            parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(label(tick.text, LEFT - 6, y + 4, anchor="end"))
        for tick in self.times.ticks():
            x = LEFT + tick.place * (WIDTH - LEFT - RIGHT)
            y = HEIGHT - BOTTOM
            parts.append(element("line", x1=x, x2=x, y1=y, y2=y + 4, class_="grid"))
            parts.append(_centred(tick.text, x, y + 18))
        return parts

    def _marks(self, marks: Sequence[Mark]) -> list[str]:
        parts: list[str] = []
        last = -BETWEEN_NAMES
        for mark in marks[-MAX_MARKS:]:
            x = self.x(mark.at)
            line = element("line", x1=x, x2=x, y1=TOP - 4, y2=HEIGHT - BOTTOM, class_="mark")
            parts.append(element("g", element("title", plain(f"{mark.name}, {minute(mark.at)}")), line))
            if x - last >= BETWEEN_NAMES:
                short = mark.name if len(mark.name) <= MAX_NAME else f"{mark.name[: MAX_NAME - 1]}…"
                parts.append(_centred(short, x, TOP - 8, "label mark"))
                last = x
        return parts


def _centred(text: str, x: float, y: float, class_: str = "label") -> str:
    """Return a text around a place, or as near to it as it fits."""
    return label(text, min(x, WIDTH - CHARACTER * len(text) / 2), y, anchor="middle", class_=class_)
