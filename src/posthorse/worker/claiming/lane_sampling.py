"""Lane sampling: of many lanes, only those are asked for jobs that had some at the last look into all of them.

To look into thousands of lanes takes longer than to claim what a few of them hold. So a claim asks no more lanes than
it wants jobs, and the look into all of them is repeated when these do not suffice, and often enough.
Pure: moments come in, in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from posthorse.worker.claiming.non_empty_lanes import NonEmptyLanes

FEW = 200
"""With up to so many lanes, every claim asks all of them."""

FRESH_FOR = 1.0
"""Seconds after a look in which lanes that gave jobs are asked again before the next look."""

LOOK_SHARE = 50
"""A look that took t seconds is followed by the next after 50 t."""


class LaneSample:
    """The lanes that had jobs at the last look into all lanes of a runner, and whether they still suffice."""

    def __init__(self) -> None:
        self.is_partial = False
        """True when the last claim left out lanes that may have jobs."""
        self._lanes = NonEmptyLanes()
        self._is_fresh = False
        """True when nothing was claimed since the last look."""
        self._gives_well = False
        """True while its lanes give at least half of what they are asked for."""
        self._fresh_until = 0.0
        self._next_look = 0.0
        self._asked: Sequence[int] = ()

    def has_to_look(self, now: float) -> bool:
        """Tell whether it is time for the next look."""
        return now >= self._next_look or not self._suffices(now)

    def learn(self, heads: Mapping[int, int], priorities: Mapping[int, int], *, now: float, seconds: float) -> None:
        """Replace the sample by what a look found that took `seconds`: the places of heads, by lane."""
        self._lanes.learn(heads, priorities)
        self._is_fresh = self._gives_well = True
        self._next_look, self._fresh_until = now + LOOK_SHARE * seconds, now + FRESH_FOR

    def __iter__(self) -> Iterator[int]:
        """Its lanes, the highest priority first, then in the order in which they should be asked."""
        return iter(self._lanes)

    def place(self, lane: int) -> int:
        """Where the head of a lane was found; a very high number if the lane gave jobs since."""
        return self._lanes.place(lane)

    def ask_all(self) -> None:
        """Every lane of the runner is asked."""
        self.is_partial = False

    def ask(self, lanes: Iterable[int], room: int) -> Sequence[int]:
        """The first `room` of these lanes of the sample, to be asked for `room` jobs."""
        found = list(islice(lanes, room + 1))
        return self.ask_exactly(found[:room], is_all=len(found) <= room)

    def ask_exactly(self, lanes: Sequence[int], *, is_all: bool) -> Sequence[int]:
        """The same for lanes that were chosen already; `is_all` is whether no lane of the sample was left out."""
        self.is_partial = not (self._is_fresh and is_all)
        self._asked = lanes
        return lanes

    def note(self, gave: Collection[int], *, is_good: bool, is_exhausted: bool) -> Collection[int]:
        """Learn which lanes gave jobs to a claim; return those that are not in the sample any more.

        is_good: the claim got at least half of what it asked for; is_exhausted: its lanes gave all that they had.
        """
        self._gives_well = is_good
        emptied: Collection[int] = ()
        if not self._asked:  # what is left is closed or shut: it is time to look elsewhere
            emptied = list(self._lanes)
        elif is_exhausted or not gave:
            emptied = [number for number in self._asked if number not in gave]
        self.forget(emptied)
        self._lanes.put_behind(gave)
        self._is_fresh = self._is_fresh and not gave
        return emptied

    def forget(self, lanes: Iterable[int]) -> None:
        """These lanes have no jobs any more."""
        self._lanes.forget(lanes)

    def _suffices(self, now: float) -> bool:
        """Lanes may be asked for more jobs than the look found: a few always, many for a while and not in vain."""
        may_ask_again = len(self._lanes) <= FEW or (self._gives_well and now < self._fresh_until)
        return self._lanes.untouched > 0 or (len(self._lanes) > 0 and may_ask_again)
