"""Stacked bars over time: how many of each sort there were in each hour or day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from posthorse.views.pictures.frame import BOTTOM, HEIGHT, TOP, Frame, Mark
from posthorse.views.pictures.scales import TimeAxis, counts
from posthorse.views.pictures.svg import element, plain
from posthorse.views.quantities import minute

GAP = 0.15
"""The part of a bar's width that stays empty; nothing if bars are narrower than three units."""

LEAST_HEIGHT = 1.0
"""A part that is not zero can be seen, however large the others are."""


class Bar(NamedTuple):
    """One stack: from when it counts, and its parts from below to above."""

    began_at: datetime
    parts: tuple[int, ...]


def bars(
    name: str,
    title: str,
    description: str,
    *,
    times: TimeAxis,
    width: timedelta,
    sorts: Sequence[str],
    stacks: Sequence[Bar],
    marks: Sequence[Mark] = (),
) -> str:
    """Draw stacks that are `width` wide. `sorts` names their parts, and each is a class of the page."""
    frame = Frame(times, counts(max((sum(stack.parts) for stack in stacks), default=0)))
    content = [_stack(frame, stack, width, sorts) for stack in stacks if sum(stack.parts)]
    return frame.drawn(name, title, description, content, marks)


def _stack(frame: Frame, stack: Bar, width: timedelta, sorts: Sequence[str]) -> str:
    left, right = frame.x(stack.began_at), frame.x(stack.began_at + width)
    gap = GAP * (right - left) if right - left > 3 else 0.0
    drawn: list[str] = []
    top, total = HEIGHT - BOTTOM, 0
    for sort, count in zip(sorts, stack.parts, strict=True):
        if not count:
            continue
        total += count
        above = max(TOP, min(frame.y(total), top - LEAST_HEIGHT))
        wide = max(0.5, right - left - gap)
        drawn.append(element("rect", x=left + gap / 2, y=above, width=wide, height=top - above, class_=f"part {sort}"))
        top = above
    said = ", ".join(f"{count:,} {sort}" for sort, count in zip(sorts, stack.parts, strict=True) if count)
    whole = element(  # so that pointing above a small bar finds it, too
        "rect", x=left, y=TOP, width=max(0.5, right - left), height=HEIGHT - BOTTOM - TOP, class_="around"
    )
    return element("g", element("title", plain(f"{minute(stack.began_at)}: {said}")), whole, *drawn)
