"""Lane sampling: if there are many lanes, a claim reads only some that had jobs at the last look into all of them.

Reading thousands of lanes takes longer than claiming what a few of them hold. So a claim reads no more lanes than it
wants jobs. The look into all lanes is repeated when the sample no longer suffices, and often enough in any case. Pure:
times come in, in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from posthorse.worker.claiming.non_empty_lanes import NonEmptyLanes

FEW = 200
"""With at most so many lanes, every claim reads all of them."""

FRESH_FOR = 1.0
"""Seconds after a look in which lanes that gave jobs may be read again before the next look."""

LOOK_SHARE = 50
"""After a look that took t seconds, the next one follows after 50 t, so looks take at most 2 % of the time."""


class LaneSample:
    """The lanes that had jobs at the last look into all lanes of a runner, and whether they still suffice."""

    def __init__(self) -> None:
        self.is_partial = False
        """True if the last claim left out lanes that may have jobs."""
        self._lanes = NonEmptyLanes()
        self._is_fresh = False
        """True if nothing was claimed since the last look."""
        self._gives_well = False
        """True while the sample gives at least half of the jobs that claims ask for."""
        self._fresh_until = 0.0
        self._next_look = 0.0
        self._asked: Sequence[int] = ()

    def has_to_look(self, now: float) -> bool:
        """Return whether the next look is due."""
        return now >= self._next_look or not self._suffices(now)

    def learn(self, heads: Mapping[int, int], priorities: Mapping[int, int], *, now: float, seconds: float) -> None:
        """Replace the sample by the result of a look that took `seconds`: the place of the first job, by lane."""
        self._lanes.learn(heads, priorities)
        self._is_fresh = self._gives_well = True
        self._next_look, self._fresh_until = now + LOOK_SHARE * seconds, now + FRESH_FOR

    def __iter__(self) -> Iterator[int]:
        """Yield the lanes, the highest priority first, then in the order in which to read them."""
        return iter(self._lanes)

    def place(self, lane: int) -> int:
        """Return where the first job of a lane was; a very high number if the lane has given jobs since."""
        return self._lanes.place(lane)

    def ask_all(self) -> None:
        """Note that the next claim reads every lane of the runner."""
        self.is_partial = False

    def ask(self, lanes: Iterable[int], room: int) -> Sequence[int]:
        """Return the first `room` of these lanes, for a claim of `room` jobs."""
        found = list(islice(lanes, room + 1))
        return self.ask_exactly(found[:room], is_all=len(found) <= room)

    def ask_exactly(self, lanes: Sequence[int], *, is_all: bool) -> Sequence[int]:
        """Do the same with lanes that were chosen already; `is_all`: no lane of the sample was left out."""
        self.is_partial = not (self._is_fresh and is_all)
        self._asked = lanes
        return lanes

    def note(self, gave: Collection[int], *, is_good: bool, is_exhausted: bool) -> Collection[int]:
        """Learn which lanes gave jobs to a claim; return those that have left the sample.

        is_good: the claim got at least half of the jobs that it asked for. is_exhausted: its lanes gave all that they
        had.
        """
        self._gives_well = is_good
        emptied: Collection[int] = ()
        if not self._asked:  # all lanes of the sample are closed or shut: let the next look find others
            emptied = list(self._lanes)
        elif is_exhausted or not gave:
            emptied = [number for number in self._asked if number not in gave]
        self.forget(emptied)
        self._lanes.put_behind(gave)
        self._is_fresh = self._is_fresh and not gave
        return emptied

    def forget(self, lanes: Iterable[int]) -> None:
        """Remove lanes that have no more jobs."""
        self._lanes.forget(lanes)

    def _suffices(self, now: float) -> bool:
        """Return whether to go on with the sample after its lanes gave the jobs that the look found.

        A small sample may go on as long as it has lanes, a large one for a while and only if it gives well.
        """
        may_ask_again = len(self._lanes) <= FEW or (self._gives_well and now < self._fresh_until)
        return self._lanes.untouched > 0 or (len(self._lanes) > 0 and may_ask_again)
