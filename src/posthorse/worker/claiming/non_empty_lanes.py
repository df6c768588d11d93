"""Lanes that had jobs when a runner last looked into all of them, in the order in which it goes through them.

For runners with many lanes, where to look takes longer than to claim. Knows no store and no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

LAST = 2**63 - 1


class NonEmptyLanes:
    """Higher priority first, then whose head came first; those that gave jobs go behind those that did not yet."""

    def __init__(self) -> None:
        self._places: dict[int, dict[int, int]] = {}
        """For each priority its lanes, each with the place of the head that was found there."""
        self._priorities: dict[int, int] = {}
        self.untouched = 0
        """How many of them gave no job since."""

    def learn(self, heads: Mapping[int, int], priorities: Mapping[int, int]) -> None:
        """Replaces what was known by the places of the heads that were found now."""
        self._priorities = {number: priorities[number] for number in heads}
        self._places = {one: {} for one in sorted(set(self._priorities.values()), reverse=True)}
        self.untouched = len(heads)
        for number, place in sorted(heads.items(), key=itemgetter(1)):
            self._places[self._priorities[number]][number] = place

    def __iter__(self) -> Iterator[int]:
        """The numbers of the lanes, in that order."""
        for places in self._places.values():
            yield from places

    def place(self, number: int) -> int:
        """Where the head of a lane stood; LAST for one that gave jobs since, or is not among them any more."""
        priority = self._priorities.get(number)
        return LAST if priority is None else self._places[priority][number]

    def __len__(self) -> int:
        return len(self._priorities)

    def put_behind(self, numbers: Iterable[int]) -> None:
        """These gave jobs."""
        for number in numbers:
            if number in self._priorities:
                places = self._places[self._priorities[number]]
                self.untouched -= places.pop(number) != LAST
                places[number] = LAST

    def forget(self, numbers: Iterable[int]) -> None:
        """These have no jobs any more."""
        for number in numbers:
            if number in self._priorities:
                self.untouched -= self._places[self._priorities.pop(number)].pop(number) != LAST
