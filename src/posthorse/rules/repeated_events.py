"""Events that may happen to a job again and again, for weeks: the first few are stored singly, then the last one
counts. Pure.

Examples are a job that fits the code of no worker, one that snoozes, one whose time box is over, and one that newer
jobs supersede: each time is an event, and the series has no end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

KEPT_APART = 10
"""Events of a series that are stored singly; all later ones share the last one."""

YIELDED = "yielded to others after its time box"

_ENDLESS = frozenset({"unfit", "snoozed", "superseded", "waiting"})


class EventStep(NamedTuple):
    """An event as it is stored; `detail` is JSON."""

    version: int
    name: str
    detail: str | None


class NextEvent(NamedTuple):
    """How to store the next event: `instead_of` is the version of the event that it replaces."""

    detail: str | None
    instead_of: int | None = None


def is_endless(name: str, detail: str | None) -> bool:
    """Return whether such events may repeat without end."""
    return name in _ENDLESS or (name == "released" and _decoded(detail).get("detail") == YIELDED)


def times_in_a_row(name: str, last: EventStep | None) -> int:
    """Return how often the same event came before, without another in between."""
    if last is None or last.name != name or not is_endless(name, last.detail):
        return 0
    return _times(last.detail)


def stands_for_others(name: str, detail: str | None) -> bool:
    """Return whether a stored event replaced others of its series."""
    return is_endless(name, detail) and _times(detail) > KEPT_APART


def next_event(name: str, detail: str | None, last: EventStep | None) -> NextEvent:
    """Return how to store an endless event after the last one."""
    times = 1 + times_in_a_row(name, last)
    if times == 1 or last is None:
        return NextEvent(detail)
    counted = msgspec.json.encode({**_decoded(detail), "times": times}).decode()
    return NextEvent(counted, last.version if times > KEPT_APART else None)


def _times(detail: str | None) -> int:
    times = _decoded(detail).get("times", 1)
    return times if isinstance(times, int) else 1


def _decoded(detail: str | None) -> Mapping[str, object]:
    try:
        found: object = msgspec.json.decode(detail or "{}")
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}
