"""How full a queue is, without counting it each time: a count that took long may be relied upon for a while.

Pure: times are monotonic seconds that come in.
"""

from __future__ import annotations

QUICK = 0.001
"""A count that took less than these seconds is simply made anew."""

TRUST = 50
"""A count that took t seconds is relied upon for 50 t: counting takes at most 2 % of the time."""

MAX_TRUST = 1.0
PART = 64
"""The part of the room that one process fills before it counts again: as many processes do not overshoot."""


class Gauge:
    """What one process knows of the depth of one queue."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self._allowance = 0
        self._depth = 0
        self._until = 0.0

    def has_room(self, count: int, now: float) -> bool:
        """True when so many jobs fit for certain enough, and takes the room; false when it takes a count to know."""
        if now >= self._until or count > self._allowance:
            return False
        self._allowance -= count
        return True

    def depth_if_full(self, count: int, now: float) -> int | None:
        """The depth of a queue that was too full for so many a moment ago; None when it takes a count to know."""
        return self._depth if now < self._until and self._depth + count > self.max_depth else None

    def note(self, depth: int, *, now: float, seconds: float) -> None:
        """Learns from a count that took so many seconds."""
        self._depth = depth
        self._allowance = max(0, self.max_depth - depth) // PART
        self._until = now + min(MAX_TRUST, TRUST * seconds) if seconds > QUICK else now
