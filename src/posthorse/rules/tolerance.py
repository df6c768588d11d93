"""The budget for bad items: a count, or a share of what was done; that of a job that was cut holds for all of its parts
together. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.job import State
from posthorse.rules.loop_state import decode_loops
from posthorse.rules.values.type_mismatch import short

JUDGED_FROM = 100
"""A share of fewer items is not judged, unless there are no more."""

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


class Tolerance(msgspec.Struct, frozen=True):
    """How many bad items a loop may have: `count` of them, or `share` of its items, from 0 to 1."""

    count: int = 0
    share: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether the first bad item is one too many."""
        return not (self.count or self.share)

    def is_exceeded(self, bad: int, done: int, *, is_over: bool) -> bool:
        """Return whether so many bad items among so many done are too many.

        is_over: whether there are no more items to come.
        """
        if not bad:
            return False
        if self.share is None:
            return bad > self.count
        return (is_over or done >= JUDGED_FROM) and bad > self.share * done

    def __str__(self) -> str:
        return f"{self.count:,}" if self.share is None else f"{self.share * 100:g}%"


class Others(NamedTuple):
    """What the other parts of a job did in one loop: how many bad items, of how many; and whether all have done it."""

    bad: int = 0
    done: int = 0
    are_over: bool = True


def others_of(parts: Iterable[tuple[str, str | None]], loop: str) -> Others:
    """Add up the other parts, given the state of each and its loops as stored, if it has begun one."""
    bad, done, are_over = 0, 0, True
    for state, loops in parts:
        found = None if loops is None else decode_loops(loops).get(loop)
        if found is not None:
            bad, done = bad + found.bad, done + found.done
        are_over = are_over and (State(state).is_final or (found is not None and found.is_over))
    return Others(bad, done, are_over)


def as_tolerance(value: object) -> Tolerance:
    """Convert 100 items, or "1%" of them, to a tolerance. Raises InvalidOption."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return Tolerance(count=value)
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)) and float(found[1]) <= 100:
        return Tolerance(share=float(found[1]) / 100)
    raise InvalidOption(f'tolerate is {short(value)}; give a number of bad items such as 100, or a share such as "1%"')
