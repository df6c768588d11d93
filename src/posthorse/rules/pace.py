"""Pace: what the slices of a long job took so far, in a record of bounded size.

This module knows items and seconds, and nothing of jobs, stores or the time of day.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_STRETCHES = 16  # closed stretches are regrouped to half as many when they reach this number
RECENT_SECONDS = 10.0  # "recent" reaches back over this time …
RECENT_SLICES = 10  # … or over this many slices, whichever is longer

MAX_SLICE = 3e9  # seconds: about a century


class Pace(msgspec.Struct, frozen=True, array_like=True):
    """How fast a long job is: its whole history in at most 16 stretches, and its recent rate.

    A stretch is a run of neighbouring slices. All hold about the same number of items, so that they can be compared,
    whatever the sizes of the slices. If there are too many, they are regrouped, and hold more from then on. Only
    working time counts: the caller measures each slice with a monotonic clock, so that pauses, restarts and waiting do
    not look like slowness.

    The text form is stored again at every slice; it stays below 400 bytes.
    """

    slices: int = 0
    stretch_size: int = 0  # items at which the open stretch is closed
    open_items: int = 0
    open_seconds: float = 0.0
    recent_slices: float = 0.0
    recent_items: float = 0.0
    recent_seconds: float = 0.0
    items: tuple[int, ...] = ()  # of the closed stretches, oldest first
    seconds: tuple[float, ...] = ()

    def observe(self, items: int, seconds: float) -> Pace:
        """Return the pace after one more slice of so many items and so many seconds of work."""
        if not 0.0 < seconds < MAX_SLICE:
            seconds = 0.0  # a clock that stepped or stood still says nothing
        if items < 0:
            items = 0
        kept = max(1.0 - 1.0 / RECENT_SLICES, exp(-seconds / RECENT_SECONDS))
        open_items = self.open_items + items
        open_seconds = _micro(self.open_seconds + seconds)
        stretch_size = self.stretch_size
        closed_items, closed_seconds = self.items, self.seconds
        if open_items >= stretch_size and open_items > 0:
            closed_items += (open_items,)
            closed_seconds += (_shortened(open_seconds),)
            open_items, open_seconds = 0, 0.0
            if len(closed_items) >= MAX_STRETCHES:
                stretch_size = -(-sum(closed_items) // (MAX_STRETCHES // 2))
                regrouped = _regrouped(zip(closed_items, closed_seconds, strict=True), stretch_size)
                closed_items, closed_seconds, open_items, open_seconds = regrouped
        return Pace(
            self.slices + 1,
            stretch_size,
            open_items,
            open_seconds,
            _milli(self.recent_slices * kept + 1.0),
            _milli(self.recent_items * kept + items),
            _micro(self.recent_seconds * kept + seconds),
            closed_items,
            closed_seconds,
        )

    @property
    def rate(self) -> float | None:
        """Items per second over the last ten slices or ten seconds, whichever is longer; None before the first."""
        return self.recent_items / self.recent_seconds if self.recent_seconds > 0.0 else None

    @property
    def slice_seconds(self) -> float:
        """The seconds that a slice takes at present."""
        return self.recent_seconds / self.recent_slices if self.recent_slices > 0.0 else 0.0

    def stretches(self) -> list[tuple[int, float]]:
        """Return (items, seconds) of the whole history, oldest first, the open stretch last."""
        stretches = list(zip(self.items, self.seconds, strict=True))
        if self.open_items:
            stretches.append((self.open_items, self.open_seconds))
        return stretches

    def encode(self) -> str:
        """Return a compact JSON text; `Pace.decode` reads it back without loss."""
        return _encode(self).decode()

    @staticmethod
    def decode(text: str) -> Pace:
        """Decode a pace; raise msgspec.ValidationError or DecodeError if the text is not one."""
        return _decoder.decode(text)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Pace)


def _milli(number: float) -> float:
    """Round to thousandths, five times as fast as `round`."""
    return int(number * 1e3 + 0.5) / 1e3


def _micro(number: float) -> float:
    """Round to millionths."""
    return int(number * 1e6 + 0.5) / 1e6


def _regrouped(
    stretches: Iterable[tuple[int, float]], stretch_size: int
) -> tuple[tuple[int, ...], tuple[float, ...], int, float]:
    """Regroup the history into stretches of at least this size; the remainder is the open one."""
    closed_items: list[int] = []
    closed_seconds: list[float] = []
    open_items, open_seconds = 0, 0.0
    for items, seconds in stretches:
        open_items += items
        open_seconds += seconds
        if open_items >= stretch_size:
            closed_items.append(open_items)
            closed_seconds.append(_shortened(open_seconds))
            open_items, open_seconds = 0, 0.0
    return tuple(closed_items), tuple(closed_seconds), open_items, round(open_seconds, 6)


def _shortened(seconds: float) -> float:
    """Round to four digits: enough for a finish time, and short in a text that is stored at every slice."""
    return float(f"{seconds:.4g}")
