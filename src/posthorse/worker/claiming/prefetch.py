"""Prefetch: how many jobs to claim ahead of free slots. They are as many as start within a fiftieth of a second.

Their memory is bounded as well, because a claim leaves long arguments in the store (`store/queries.LIGHT`).
"""

from __future__ import annotations

from posthorse.rules.tuning import DEFAULTS, Tuning

MAX_AHEAD = 1000
WEIGHT = 0.05


class Prefetch:
    """The pace of one runner's jobs. Nothing is claimed ahead before it is known, or if jobs are slow."""

    def __init__(self, concurrency: int, tuning: Tuning = DEFAULTS) -> None:
        self.observed = 0
        """How many jobs have ended."""
        self._concurrency = concurrency
        self._ahead = tuning.prefetch
        self._average = 0.0

    def observe(self, seconds: float) -> None:
        """Learn that a job took this many seconds, from its start to its end."""
        self.observed += 1
        # Slow jobs count at once, fast ones gradually: claiming too few costs less than holding jobs that wait.
        weight = 1.0 if self.observed == 1 or seconds > self._average * 20 else WEIGHT
        self._average += (seconds - self._average) * weight

    def allowance(self) -> int:
        """Return how many jobs to claim beyond the free slots."""
        if self.observed < self._concurrency or self._average >= self._ahead:
            return 0
        return min(MAX_AHEAD, int(self._concurrency * self._ahead / max(self._average, 1e-6)))
