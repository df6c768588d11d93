"""The size of the next slice: it follows a wanted time, and is halved where slices were cut short.

It knows items and seconds, and nothing of jobs, sources or clocks.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

FIRST = 1
"""Nobody knows what an item takes before the first one: ten slices are enough to get from here to a thousand."""

MAX_GROWTH, MAX_SHRINKAGE = 2.0, 4.0
REMEMBERED = 0.7
"""What the slices before count for beside the latest, each time: a slow item is felt, and soon forgotten."""

TIMED_OUT = "the job took longer than its "
"""How the error of a job begins that took longer than it may."""


TRANSACTION_TIMED_OUT = "the transaction took more than the "
"""How the error of a slice transaction begins that took longer than it may."""


class SliceSize(msgspec.Struct, frozen=True, array_like=True):
    """How many items the next slice takes, and what the last slices took."""

    items: int
    recent_items: float = 0.0
    recent_seconds: float = 0.0


class CutShort(msgspec.Struct, frozen=True):
    """How often an attempt ended within the slice that is next: by its timeout, and with its worker."""

    timeouts: int = 0
    interruptions: int = 0
    is_retried: bool = False
    """True when the job was retried after such a timeout."""

    def __bool__(self) -> bool:
        return self.timeouts > 0 or self.interruptions > 0


def cut_short_by(ends: Iterable[tuple[str, dict[str, object]]]) -> CutShort:
    """Counts what a slice may be at fault for among these ends of attempts and retries, the latest first: names of
    events and their details."""
    timeouts = interruptions = 0
    has_retry = is_retried = False
    for name, detail in ends:
        if name == "retried":
            has_retry = True
        elif _is_timeout(detail):
            timeouts += 1
            is_retried = is_retried or has_retry
        elif name in ("lost", "crashed") or detail.get("type") in ("Crashed", "NoProgress"):
            interruptions += 1
    return CutShort(timeouts, interruptions, is_retried)


def _is_timeout(detail: dict[str, object]) -> bool:
    if str(detail.get("message", "")).startswith((TIMED_OUT, TRANSACTION_TIMED_OUT)):
        return True
    # The code may have raised an error of its own from it.
    trace = str(detail.get("traceback", ""))
    return f"Error: {TIMED_OUT}" in trace or f"Error: {TRANSACTION_TIMED_OUT}" in trace


UNCUT = CutShort()
"""No attempt ended within the slice."""


class SizeRule(msgspec.Struct, frozen=True):
    """At most `most` items a slice; with `seconds`, as many as take about that time."""

    most: int
    seconds: float | None = None

    def begin(self, stored: SliceSize | None, cut_short: CutShort = UNCUT, left: int | None = None) -> SliceSize:
        """The size for the next slice of an attempt, after what was stored with the last committed one.

        A slice that was cut short is halved each time, and begins with one item when the job is retried after that. A
        fixed size is one that the user chose: only a timeout makes it smaller, not a worker that was killed.

        left: how many items there are still, if that is known; there is no use in halving what is not there.
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
        """The size after one more slice; None for the one that a loop begins with."""
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
