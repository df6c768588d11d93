"""The size of the next slice: it aims at a wanted duration, and halves after slices that were cut short.

This module knows items and seconds, and nothing of jobs, sources or clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

FIRST = 1
"""The first slice has one item, because its cost is unknown; ten slices are enough to grow to a thousand."""

MAX_GROWTH, MAX_SHRINKAGE = 2.0, 4.0
REMEMBERED = 0.7
"""The weight of earlier slices against the latest: a slow item has an effect that soon fades."""

TIMED_OUT = "the job took longer than its "
"""How the error of a job begins that exceeded its timeout."""


TRANSACTION_TIMED_OUT = "the transaction took more than the "
"""How the error of a slice transaction begins that took too long."""


class SliceSize(msgspec.Struct, frozen=True, array_like=True):
    """How many items the next slice takes, and what the last slices took."""

    items: int
    recent_items: float = 0.0
    recent_seconds: float = 0.0


class CutShort(msgspec.Struct, frozen=True):
    """How often an attempt ended within the next slice: by its timeout, and with its worker."""

    timeouts: int = 0
    interruptions: int = 0
    is_retried: bool = False
    """Whether the job was retried after such a timeout."""

    def __bool__(self) -> bool:
        return self.timeouts > 0 or self.interruptions > 0


def cut_short_by(ends: Iterable[tuple[str, dict[str, object]]]) -> CutShort:
    """Count the ends for which a slice may be the cause.

    `ends` are the ends of attempts and retries, latest first: names of events and their details.
    """
    timeouts = interruptions = 0
    has_retry = is_retried = False
    for name, detail in ends:
        if name == "retried":
            has_retry = True
        elif is_timeout(detail):
            timeouts += 1
            is_retried = is_retried or has_retry
        elif name in ("lost", "crashed") or detail.get("type") in ("Crashed", "NoProgress"):
            interruptions += 1
    return CutShort(timeouts, interruptions, is_retried)


def is_timeout(detail: Mapping[str, object]) -> bool:
    """Return whether an attempt ended by its timeout, given the detail of its end; if that is packed, it says so."""
    if detail.get("is_timeout") is True:
        return True
    if str(detail.get("message", "")).startswith((TIMED_OUT, TRANSACTION_TIMED_OUT)):
        return True
    # The code may have raised its own error from it.
    trace = str(detail.get("traceback", ""))
    return f"Error: {TIMED_OUT}" in trace or f"Error: {TRANSACTION_TIMED_OUT}" in trace


UNCUT = CutShort()
"""No attempt ended within the slice."""


class SizeRule(msgspec.Struct, frozen=True):
    """At most `most` items a slice; with `seconds`, as many as take about that time."""

    most: int
    seconds: float | None = None

    def begin(self, stored: SliceSize | None, cut_short: CutShort = UNCUT, left: int | None = None) -> SliceSize:
        """Return the size of the first slice of an attempt, after the size stored with the last committed slice.

        Each time a slice was cut short, it is halved; if the job is retried after a timeout, it begins with one item. A
        fixed size is the user's choice, so only a timeout makes it smaller, not a killed worker.

        left: how many items remain, if known; halving starts from there.
        """
        first = self.most if self.seconds is None else min(FIRST, self.most)
        size = SliceSize(first) if stored is None else self._bounded(stored)
        if not cut_short:
            return size
        halvings = cut_short.timeouts + (0 if self.seconds is None else cut_short.interruptions)
        if halvings and left:
            size = _with(size, min(size.items, left))
        return _with(size, 1 if cut_short.is_retried else max(1, size.items >> halvings))

    def after(self, size: SliceSize, items: int, seconds: float) -> SliceSize | None:
        """Return the size after one more slice; None for the size with which a loop begins."""
        grown = min(self.most, round(size.items * MAX_GROWTH))
        if self.seconds is None:
            return None if grown == self.most else SliceSize(grown)
        recent_items = round(size.recent_items * REMEMBERED + items, 3)
        recent_seconds = round(size.recent_seconds * REMEMBERED + max(0.0, seconds), 6)
        wanted = self.seconds * recent_items / recent_seconds if recent_seconds > 0.0 else float(self.most)
        smallest = max(1, round(size.items / MAX_SHRINKAGE))
        return SliceSize(round(max(smallest, min(grown, wanted))), recent_items, recent_seconds)

    def _bounded(self, size: SliceSize) -> SliceSize:
        return size if 1 <= size.items <= self.most else _with(size, max(1, min(self.most, size.items)))


def _with(size: SliceSize, items: int) -> SliceSize:
    return msgspec.structs.replace(size, items=items)
