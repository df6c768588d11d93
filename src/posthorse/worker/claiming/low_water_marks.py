"""Low-water marks: where in a lane a claim starts to look, if consumed entries stay in the index.

On PostgreSQL a consumed entry stays in the index until vacuum may remove it, and an idle transaction anywhere can delay
that for hours. So a claim starts behind the last entry that it saw consumed. A job whose transaction commits late is
before the mark. Two things find it: while the runner keeps up with its lanes, it starts from the mark of a second ago;
and sweeps, paced by what they cost, start from zero.

On SQLite no marks are kept: every look starts from zero. Pure: times come in, in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.operations.claim import Claimed

SWEEP_SHARE = 50
"""After a sweep that took t seconds, the next one follows after 50 t, so sweeps take at most 2 % of the time."""


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
        """Begin a look; it is a sweep if one is due."""
        self._is_sweep = now >= self.next_sweep

    def end(self, now: float, seconds: float) -> None:
        """End the look, which took this many seconds."""
        if self._is_sweep:
            self.next_sweep = now + max(self._tuning.mark_sweep_interval, SWEEP_SHARE * seconds)
            self._is_sweep = False

    def start(self, lane: int, now: float) -> int:
        """Return the place in a lane behind which to look."""
        if self._is_sweep:
            return 0
        mark = self._of_lane.get(lane)
        if mark is None:
            return 0
        return mark.sharp if self._is_behind else mark.lagging(now)

    def sharp(self, lane: int) -> int:
        """Return the last place in a lane that was consumed."""
        mark = self._of_lane.get(lane)
        return 0 if mark is None else mark.sharp

    def note(self, claimed: Sequence[Claimed], *, room: int, now: float) -> None:
        """Note what a claim of `room` jobs consumed."""
        self._is_behind = len(claimed) >= room
        if not self.are_kept:
            return
        for job in claimed:
            mark = self._of_lane.get(job.lane)
            if mark is None:
                mark = self._of_lane[job.lane] = _Mark(self._tuning.mark_lag)
            if job.seq > mark.sharp:
                mark.lagging(now)  # before the mark moves: it may be due to become the lagging one
                mark.sharp = job.seq


class _Mark:
    """The last place consumed in a lane, and the one that was the last at least `lag` seconds ago."""

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
