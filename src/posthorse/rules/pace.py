"""Pace: what the slices of a long job took so far, in a record of bounded size.

This module knows items and seconds, and nothing of jobs, stores or the time of day.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

NANOSECOND = 1e-9

MAX_STRETCHES = 16  # closed stretches are regrouped to half as many when they reach this number
RECENT_SECONDS = 10.0  # "recent" reaches back over this time …
RECENT_SLICES = 10  # … or over this many slices, whichever is longer
MIN_KEPT = 1.0 - 1.0 / RECENT_SLICES

MAX_SLICE = 3e9  # seconds: about a century

NONE_CLOSED = msgspec.Raw(b"[]")


class Pace(msgspec.Struct, frozen=True, array_like=True):
    """How fast a long job is: its whole history in at most 16 stretches, and its recent rate.

    A stretch is a run of neighbouring slices. All hold about the same number of items, so that they can be compared,
    whatever the sizes of the slices. If there are too many, they are regrouped, and hold more from then on. Only
    working time counts: the caller measures each slice with a monotonic clock, so that pauses, restarts and waiting do
    not look like slowness.

    The text form is stored again at every slice; it stays below 400 bytes. The closed stretches are kept in that form,
    because they rarely change, and to write them would take longer than all the rest.
    """

    slices: int = 0
    stretch_size: int = 0  # items at which the open stretch is closed
    open_items: int = 0
    open_seconds: float = 0.0
    recent_slices: float = 0.0
    recent_items: float = 0.0
    recent_seconds: float = 0.0
    items: msgspec.Raw = NONE_CLOSED  # of the closed stretches, oldest first
    seconds: msgspec.Raw = NONE_CLOSED

    def observe(self, items: int, seconds: float) -> Pace:
        """Return the pace after one more slice of so many items and so many seconds of work."""
        if not 0.0 < seconds < MAX_SLICE:
            seconds = 0.0  # a clock that stepped or stood still says nothing
        if items < 0:
            items = 0
        kept = max(MIN_KEPT, exp(-seconds / RECENT_SECONDS))
        open_items = self.open_items + items
        open_seconds = self.open_seconds + seconds
        stretch_size = self.stretch_size
        closed_items, closed_seconds = self.items, self.seconds
        if open_items >= stretch_size and open_items > 0:
            closed = [*self._closed(), (open_items, _shortened(open_seconds))]
            open_items, open_seconds = 0, 0.0
            if len(closed) >= MAX_STRETCHES:
                stretch_size = -(-sum(items for items, _ in closed) // (MAX_STRETCHES // 2))
                closed, open_items, open_seconds = _regrouped(closed, stretch_size)
            closed_items = msgspec.Raw(_encode([items for items, _ in closed]))
            closed_seconds = msgspec.Raw(_encode([seconds for _, seconds in closed]))
        return Pace(
            self.slices + 1,
            stretch_size,
            open_items,
            open_seconds,
            self.recent_slices * kept + 1.0,
            self.recent_items * kept + items,
            self.recent_seconds * kept + seconds,
            closed_items,
            closed_seconds,
        )

    @property
    def rate(self) -> float | None:
        """Items per second over the last ten slices or ten seconds, whichever is longer; None before the first, and if
        they took no time that a clock could show.
        """
        return self.recent_items / self.recent_seconds if self.recent_seconds > NANOSECOND else None

    @property
    def slice_seconds(self) -> float:
        """The seconds that a slice takes at present."""
        return self.recent_seconds / self.recent_slices if self.recent_slices > 0.0 else 0.0

    def stretches(self) -> list[tuple[int, float]]:
        """Return (items, seconds) of the whole history, oldest first, the open stretch last."""
        stretches = self._closed()
        if self.open_items:
            stretches.append((self.open_items, self.open_seconds))
        return stretches

    def encode(self) -> str:
        """Return a compact JSON text; `Pace.decode` reads it back without loss."""
        return _encode(self).decode()

    @staticmethod
    def decode(text: str) -> Pace:
        """Decode a pace; raise msgspec.DecodeError or ValueError if the text is not one."""
        pace = _decode(text)
        pace.stretches()  # whose text is read only when it is needed
        return pace

    def _closed(self) -> list[tuple[int, float]]:
        return list(zip(_decode_items(self.items), _decode_seconds(self.seconds), strict=True))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Pace).decode
_decode_items = msgspec.json.Decoder(list[int]).decode
_decode_seconds = msgspec.json.Decoder(list[float]).decode


def _regrouped(stretches: Iterable[tuple[int, float]], stretch_size: int) -> tuple[list[tuple[int, float]], int, float]:
    """Regroup the history into stretches of at least this size; the remainder is the open one."""
    closed: list[tuple[int, float]] = []
    open_items, open_seconds = 0, 0.0
    for items, seconds in stretches:
        open_items += items
        open_seconds += seconds
        if open_items >= stretch_size:
            closed.append((open_items, _shortened(open_seconds)))
            open_items, open_seconds = 0, 0.0
    return closed, open_items, open_seconds


def _shortened(seconds: float) -> float:
    """Round to four digits: enough for a finish time, and short in a text that is stored at every slice."""
    return float(f"{seconds:.4g}")
