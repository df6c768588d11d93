"""Odd values, which have no form in JSON, or only just have one."""

from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    x: int
    y: int


class Session:
    """Something that only makes sense in one process."""


def nested(levels: int) -> list[object]:
    """Return lists in lists."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def endless() -> list[object]:
    """Return a list that contains itself."""
    items: list[object] = []
    items.append(items)
    return items
