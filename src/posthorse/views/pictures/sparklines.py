"""A line without axes, as large as a word: whether something grew. For pages as SVG, for terminals as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from posthorse.views.pictures.svg import element, path, picture

WIDTH, HEIGHT = 96.0, 22.0
EDGE = 2.0
LEVELS = "▁▂▃▄▅▆▇█"
NONE = "·"


def sparkline(name: str, title: str, description: str, values: Sequence[float]) -> str:
    """Draw values from zero to the largest; one alone is a dot, none is an empty picture."""
    largest = max(values, default=0) or 1
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    points = [
        (EDGE + place * step, HEIGHT - EDGE - value / largest * (HEIGHT - 2 * EDGE))
        for place, value in enumerate(values)
    ]
    content: list[str] = []
    if len(points) > 1:
        ground = [(points[-1][0], HEIGHT - EDGE), (points[0][0], HEIGHT - EDGE)]
        content = [
            element("path", d=path([*points, *ground], is_closed=True), class_="band"),
            element("path", d=path(points), class_="line"),
        ]
    content += [element("circle", cx=x, cy=y, r=1.8, class_="dot") for x, y in points[-1:]]
    return picture(name, WIDTH, HEIGHT, title, description, *content).replace("picture", "spark", 1)


def spark_text(values: Sequence[float], width: int) -> str:
    """Return blocks for a terminal, at most `width` of them, each for the largest of its values; a dot is zero."""
    thinned = thin(values, width)
    largest = max(thinned, default=0)
    if not largest:
        return NONE * len(thinned)
    return "".join(LEVELS[min(7, int(value / largest * 8))] if value > 0 else NONE for value in thinned)


def thin(values: Sequence[float], most: int) -> list[float]:
    """Return at most so many values, each the largest of as many neighbours."""
    if len(values) <= most:
        return list(values)
    ends = [len(values) * place // most for place in range(most + 1)]
    return [max(values[begin:end]) for begin, end in pairwise(ends)]
