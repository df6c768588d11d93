"""How long a store that went away is asked again, and how the askers are kept from arriving all at once."""

from __future__ import annotations

import random
import time

from posthorse.clock import monotonic

MOST_CONFLICTS = 10
"""A group that lost this many deadlocks in a row has an operation that will not fit."""


class Patience:
    """The patience of one call: a deadline for what went away, a count for what collides."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._failures = 0
        self._conflicts = 0
        self._surprises = 0

    def waits(self) -> bool:
        """Pauses, longer each time and by chance, while a store comes back; false when patience is over."""
        pause = random.uniform(0.02, min(2.0, 0.1 * 2.0**self._failures))
        self._failures += 1
        if monotonic() + pause > self._deadline:
            return False
        time.sleep(pause)
        return True

    def takes_another_turn(self) -> bool:
        """Pauses a moment after a collision with another session; false when there were too many."""
        self._conflicts += 1
        if self._conflicts > MOST_CONFLICTS or monotonic() > self._deadline:
            return False
        time.sleep(random.uniform(0, 0.002 * self._conflicts))
        return True

    def looks_once_more(self) -> bool:
        """After what was to be written proved to be there; false when that came too often. Time does not count: it was
        written, and the next look finds it.
        """
        self._surprises += 1
        return self._surprises <= MOST_CONFLICTS
