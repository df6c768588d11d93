"""How many jobs to claim ahead of free slots: as many as start within a fiftieth of a second.

What they hold here is bounded, too, for long arguments are not brought along by a claim (`store/queries.LIGHT`).
"""

from __future__ import annotations

from posthorse.rules.tuning import DEFAULTS, Tuning

MAX_AHEAD = 1000
WEIGHT = 0.05


class Prefetch:
    """Learns how long jobs take. Before it knows, and for slow jobs, nothing is claimed ahead."""

    def __init__(self, concurrency: int, tuning: Tuning = DEFAULTS) -> None:
        self.observed = 0
        """How many jobs have ended."""
        self._concurrency = concurrency
        self._ahead = tuning.prefetch
        self._average = 0.0

    def observe(self, seconds: float) -> None:
        """A job took that long, from its start to its end."""
        self.observed += 1
        # A slow job counts at once, fast ones bit by bit: claiming too little costs less than trapping jobs.
        weight = 1.0 if self.observed == 1 or seconds > self._average * 20 else WEIGHT
        self._average += (seconds - self._average) * weight

    def allowance(self) -> int:
        """How many jobs beyond the free slots."""
        if self.observed < self._concurrency or self._average >= self._ahead:
            return 0
        return min(MAX_AHEAD, int(self._concurrency * self._ahead / max(self._average, 1e-6)))
