"""How long the store took to renew leases, which is a small commit: counted from heartbeats."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds in seconds of the parts of the histogram; a last part counts what took longer."""


class Latencies:
    """The times of one worker. The thread that sends heartbeats adds, any thread may read."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """How many took at most as long as each bound and longer than the bound before."""
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one renewal."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
