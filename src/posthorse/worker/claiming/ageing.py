"""Ageing: a lane whose head has waited long counts as higher, until a job is taken from it.

Pure: moments come in, in monotonic seconds. How long heads have waited is asked of the store once a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posthorse.rules.job import HIGHEST_PRIORITY, Lane
from posthorse.worker.claiming.served_lanes import ServedLanes

AGES_INTERVAL = 1.0


class Ageing:
    """By how much the lanes of a runner count as higher than they are."""

    def __init__(self, served: ServedLanes) -> None:
        self.boosts: dict[int, int] = {}
        """What is added to the priority of a lane; lanes that have none are left out."""
        self._served = served
        self._next_look = 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to ask how long heads have waited. Lanes of one priority cannot starve each other."""
        return now >= self._next_look and self._served.has_levels

    def starving(self, lanes: Iterable[tuple[int, Lane]], now: float) -> list[tuple[int, Lane]]:
        """Of the lanes that are open, those that others may starve: ask how long these have waited, for `learn`."""
        self._next_look = now + AGES_INTERVAL
        found = list(lanes)
        highest = max((lane.priority for _, lane in found), default=0)
        return [each for each in found if each[1].priority < highest and self._served.settings(each[1].queue).ageing]

    def learn(self, waits: Mapping[int, int]) -> None:
        """Replace all boosts; `waits` are the microseconds that the heads of lanes have waited."""
        self.boosts.clear()
        for number, waited in waits.items():
            lane = self._served[number]
            steps = int(waited / 1_000_000 / self._served.settings(lane.queue).ageing)
            if steps > 0:
                self.boosts[number] = min(steps, HIGHEST_PRIORITY - lane.priority)

    def forget(self, lanes: Iterable[int]) -> None:
        """Take the boosts from these lanes: their old heads were claimed."""
        if self.boosts:
            for number in lanes:
                self.boosts.pop(number, None)

    def clear(self) -> None:
        """Take all boosts away."""
        self.boosts.clear()
