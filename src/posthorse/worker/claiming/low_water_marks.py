"""Low-water marks: from where on in a lane a claim looks, where consumed entries stay in the index.

On PostgreSQL a consumed entry stays in the index until vacuum may remove it, which an idle transaction
anywhere can put off for hours. So a claim starts behind the last place that it saw consumed. A job that commits
late stands before the mark; three things find it: while the runner keeps up with its lanes it starts from the
mark of a second ago, a sweep starts from zero, and the sweeps are paced by what they cost.

On SQLite nothing is kept: every look starts from zero. Pure: times are monotonic seconds that come in.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.operations.claim import Claimed

SWEEP_SHARE = 50
"""A sweep that took t seconds is followed by another after 50 t: sweeps take at most 2 % of the time."""


class LowWaterMarks:
    """The marks of all lanes of a runner, and when the next sweep is due."""

    def __init__(self, tuning: Tuning = DEFAULTS, *, are_kept: bool) -> None:
        self._tuning = tuning
        self.are_kept = are_kept
        self.next_sweep = 0.0
        self._is_sweep = False
        self._is_behind = False
        self._of_lane: dict[int, _Mark] = {}

    def begin(self, now: float) -> None:
        """A look begins: a sweep, if one is due."""
        self._is_sweep = now >= self.next_sweep

    def end(self, now: float, seconds: float) -> None:
        """It took so long."""
        if self._is_sweep:
            self.next_sweep = now + max(self._tuning.mark_sweep_interval, SWEEP_SHARE * seconds)
            self._is_sweep = False

    def start(self, lane: int, now: float) -> int:
        """The place behind which to look in a lane."""
        if self._is_sweep:
            return 0
        mark = self._of_lane.get(lane)
        if mark is None:
            return 0
        return mark.sharp if self._is_behind else mark.lagging(now)

    def sharp(self, lane: int) -> int:
        """The last place in a lane that was consumed."""
        mark = self._of_lane.get(lane)
        return 0 if mark is None else mark.sharp

    def note(self, claimed: Sequence[Claimed], *, room: int, now: float) -> None:
        """What was consumed by a claim that asked for `room` jobs."""
        self._is_behind = len(claimed) >= room
        if not self.are_kept:
            return
        for job in claimed:
            mark = self._of_lane.get(job.lane)
            if mark is None:
                mark = self._of_lane[job.lane] = _Mark(self._tuning.mark_lag)
            if job.seq > mark.sharp:
                mark.lagging(now)  # what was consumed until now becomes old from now on
                mark.sharp = job.seq


class _Mark:
    """The last place consumed in a lane, and the one that was so at least `lag` seconds ago."""

    __slots__ = ("_lag", "_lagging", "_next", "_turned_at", "sharp")

    def __init__(self, lag: float) -> None:
        self.sharp = 0
        self._lag = lag
        self._lagging = 0
        self._next = 0
        self._turned_at = 0.0

    def lagging(self, now: float) -> int:
        if now - self._turned_at >= self._lag:
            self._lagging, self._next, self._turned_at = self._next, self.sharp, now
        return self._lagging
