"""Non-empty lanes: those that had jobs when a runner last looked into all of them, in the order in which it reads them.

With many lanes, choosing where to look takes longer than claiming. This module knows neither the store nor the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

LAST = 2**63 - 1


class NonEmptyLanes:
    """Lanes by priority, then by the place of their first job; lanes that gave jobs come behind the others."""

    def __init__(self) -> None:
        self._places: dict[int, dict[int, int]] = {}
        """For each priority its lanes, each with the place where its first job was found."""
        self._priorities: dict[int, int] = {}
        self.untouched = 0
        """How many of them have given no job yet."""

    def learn(self, heads: Mapping[int, int], priorities: Mapping[int, int]) -> None:
        """Replace all lanes by those that a look found, with the places of their first jobs."""
        self._priorities = {number: priorities[number] for number in heads}
        self._places = {one: {} for one in sorted(set(self._priorities.values()), reverse=True)}
        self.untouched = len(heads)
        for number, place in sorted(heads.items(), key=itemgetter(1)):
            self._places[self._priorities[number]][number] = place

    def __iter__(self) -> Iterator[int]:
        """Yield the lanes in that order."""
        for places in self._places.values():
            yield from places

    def place(self, number: int) -> int:
        """Return where the first job of a lane was; LAST if it has given jobs since, or is no longer here."""
        priority = self._priorities.get(number)
        return LAST if priority is None else self._places[priority][number]

    def __len__(self) -> int:
        return len(self._priorities)

    def put_behind(self, numbers: Iterable[int]) -> None:
        """Move lanes that gave jobs behind the others."""
        for number in numbers:
            if number in self._priorities:
                places = self._places[self._priorities[number]]
                self.untouched -= places.pop(number) != LAST
                places[number] = LAST

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove lanes that have no more jobs."""
        for number in numbers:
            if number in self._priorities:
                self.untouched -= self._places[self._priorities.pop(number)].pop(number) != LAST
