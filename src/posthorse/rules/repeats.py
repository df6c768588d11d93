"""Steps that may happen to a job again and again, for weeks: some are kept apart, then the last one counts. Pure.

A job that does not fit the code of any worker, one that puts itself off, one whose time box is over: each time is a
step, and nothing ends the series.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

KEPT_APART = 10
"""Steps of a series that are written one by one; all that follow share the last one."""

YIELDED = "yielded to others after its time box"

_ENDLESS = frozenset({"unfit", "snoozed"})


class Step(NamedTuple):
    """A step as it is stored; `detail` is JSON."""

    version: int
    name: str
    detail: str | None


class Written(NamedTuple):
    """How the next step is to be stored: `instead_of` is the version of the one whose place it takes."""

    detail: str | None
    instead_of: int | None = None


def is_endless(name: str, detail: str | None) -> bool:
    """Whether such steps may follow each other without an end."""
    return name in _ENDLESS or (name == "released" and _decoded(detail).get("detail") == YIELDED)


def times_in_a_row(name: str, last: Step | None) -> int:
    """How often the same step came before, without another one in between."""
    if last is None or last.name != name or not is_endless(name, last.detail):
        return 0
    times = _decoded(last.detail).get("times", 1)
    return times if isinstance(times, int) else 1


def next_step(name: str, detail: str | None, last: Step | None) -> Written:
    """An endless step after the last one."""
    times = 1 + times_in_a_row(name, last)
    if times == 1 or last is None:
        return Written(detail)
    counted = msgspec.json.encode({**_decoded(detail), "times": times}).decode()
    return Written(counted, last.version if times > KEPT_APART else None)


def _decoded(detail: str | None) -> Mapping[str, object]:
    try:
        found: object = msgspec.json.decode(detail or "{}")
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}
