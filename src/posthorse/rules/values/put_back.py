"""Restore the earlier state of values in place, because other code holds references to them. Pure otherwise."""

from __future__ import annotations

from collections import deque
from typing import cast


def put_back(current: object, before: object) -> object:
    """Restore `before` inside the objects of `current` if they can be changed in place; else return it as it is.

    Accepts the types of kept values. The result may contain parts of `before`.
    """
    if type(current) is not type(before):
        return before
    if isinstance(current, dict):
        return _put_back_dict(cast("dict[object, object]", current), cast("dict[object, object]", before))
    if isinstance(current, list):
        return _put_back_list(cast("list[object]", current), cast("list[object]", before))
    if isinstance(current, set):
        items = cast("set[object]", current)
        items.intersection_update(cast("set[object]", before))
        items.update(cast("set[object]", before))
        return items
    if isinstance(current, deque):
        return _put_back_deque(cast("deque[object]", current), cast("deque[object]", before))
    if isinstance(current, bytearray):
        current[:] = cast("bytearray", before)
        return current
    return before


def _put_back_dict(current: dict[object, object], before: dict[object, object]) -> object:
    parts = {key: put_back(current[key], part) if key in current else part for key, part in before.items()}
    current.clear()
    current.update(parts)  # on a Counter it adds, but this one is empty
    return current


def _put_back_list(current: list[object], before: list[object]) -> object:
    parts = [put_back(part, then) for part, then in zip(current, before, strict=False)]
    current[:] = parts + before[len(parts) :]
    return current


def _put_back_deque(current: deque[object], before: deque[object]) -> object:
    if current.maxlen != before.maxlen:
        return before
    current.clear()
    current.extend(before)
    return current
