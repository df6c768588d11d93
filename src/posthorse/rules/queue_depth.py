"""Know how full a queue is without counting every time: the longer a count took, the longer it is trusted.

Pure: times are monotonic seconds passed in.
"""

from __future__ import annotations

QUICK = 0.001
"""Seconds. A count that took less is repeated every time."""

TRUST = 50
"""A count that took t seconds is trusted for 50 t, so counting takes at most 2 % of the time."""

MAX_TRUST = 1.0
PART = 64
"""One process fills 1/64 of the room before it counts again, so that many processes together do not exceed the limit.
"""


class Gauge:
    """What one process knows about the depth of one queue."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self._allowance = 0
        self._depth = 0
        self._until = 0.0

    def has_room(self, count: int, now: float) -> bool:
        """Reserve room if the cached depth guarantees it; False means that a recount is needed."""
        if now >= self._until or count > self._allowance:
            return False
        self._allowance -= count
        return True

    def depth_if_full(self, count: int, now: float) -> int | None:
        """Return the cached depth if it showed too little room a moment ago; None means that a recount is needed."""
        return self._depth if now < self._until and self._depth + count > self.max_depth else None

    def note(self, depth: int, *, now: float, seconds: float) -> None:
        """Store a count that took so many seconds."""
        self._depth = depth
        self._allowance = max(0, self.max_depth - depth) // PART
        self._until = now + min(MAX_TRUST, TRUST * seconds) if seconds > QUICK else now
