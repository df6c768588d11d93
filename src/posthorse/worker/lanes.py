"""Which lanes a runner may serve, and from where in each it looks: the low-water marks.

On PostgreSQL a consumed entry stays in the index until vacuum may remove it, which an idle transaction
anywhere can put off for hours. So a claim starts behind the last place that it saw consumed. A job that commits
late stands before the mark; three things find it: while the runner keeps up with its lanes it starts from the
mark of a second ago, a sweep starts from zero, and the sweeps are paced by what they cost.
Pure: times are monotonic seconds that come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from posthorse.rules.job import Lane
from posthorse.store.operations.claim import Claimed, Probe

LAG = 1.0
"""Seconds by which the mark lags behind while the runner keeps up: longer than most transactions."""

SWEEP_EVERY = 2.0
SWEEP_SHARE = 50
"""A sweep that took t seconds is followed by another after 50 t: sweeps take at most 2 % of the time."""


class LaneBook:
    """The lanes that a runner serves."""

    def __init__(self, serves: Callable[[Lane], bool], *, keeps_marks: bool) -> None:
        self.known = 0
        """The highest number of a lane that was looked at."""
        self._serves = serves
        self._keeps_marks = keeps_marks
        self._lanes: dict[int, Lane] = {}
        self._marks: dict[int, _Mark] = {}
        self._is_behind = False
        self._next_sweep = 0.0
        self._is_sweep = False

    def add(self, lanes: Iterable[tuple[int, Lane]]) -> bool:
        """Enters lanes; true when one of them is served."""
        is_news = False
        for number, lane in lanes:
            self.known = max(self.known, number)
            if self._serves(lane):
                self._lanes[number] = lane
                self._marks[number] = _Mark()
                is_news = True
        return is_news

    def __getitem__(self, number: int) -> Lane:
        return self._lanes[number]

    def probes(self, now: float) -> Sequence[Probe]:
        """Where to look, the highest priority first; `note` learns what came of it."""
        self._is_sweep = now >= self._next_sweep
        return self._sorted(
            Probe(number, self._start(number, now), lane.priority) for number, lane in self._open(False)
        )

    def solo_probes(self) -> Sequence[Probe]:
        """Where to look for suspects. They are few, so that no marks are kept of them."""
        return self._sorted(Probe(number, 0, lane.priority) for number, lane in self._open(True))

    def note(self, claimed: Sequence[Claimed], *, room: int, now: float, seconds: float) -> None:
        """Learns from a claim that asked for `room` jobs and took `seconds`."""
        self._is_behind = len(claimed) >= room
        if self._is_sweep:
            self._next_sweep = now + max(SWEEP_EVERY, SWEEP_SHARE * seconds)
            self._is_sweep = False
        for job in claimed:
            mark = self._marks[job.lane]
            if job.seq > mark.sharp:
                mark.lagging(now)  # what was consumed until now becomes old from now on
                mark.sharp = job.seq

    def _open(self, solo: bool) -> Iterable[tuple[int, Lane]]:
        return ((number, lane) for number, lane in self._lanes.items() if lane.solo is solo)

    def _sorted(self, probes: Iterable[Probe]) -> Sequence[Probe]:
        return sorted(probes, key=lambda probe: -probe.priority)

    def _start(self, number: int, now: float) -> int:
        if self._is_sweep or not self._keeps_marks:
            return 0
        mark = self._marks[number]
        return mark.sharp if self._is_behind else mark.lagging(now)


class _Mark:
    """The last place consumed in a lane, and the one that was so at least LAG seconds ago."""

    __slots__ = ("_lagging", "_next", "_turned_at", "sharp")

    def __init__(self) -> None:
        self.sharp = 0
        self._lagging = 0
        self._next = 0
        self._turned_at = 0.0

    def lagging(self, now: float) -> int:
        if now - self._turned_at >= LAG:
            self._lagging, self._next, self._turned_at = self._next, self.sharp, now
        return self._lagging
