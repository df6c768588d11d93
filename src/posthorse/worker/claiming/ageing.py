"""Ageing: a lane whose first job has waited long gets a higher priority, until a job is claimed from it.

Pure: times come in, in monotonic seconds. Once a second, the caller asks the store how long first jobs have waited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posthorse.rules.job import HIGHEST_PRIORITY, Lane
from posthorse.worker.claiming.served_lanes import ServedLanes

AGES_INTERVAL = 1.0


class Ageing:
    """The boosts of a runner's lanes: by how much ageing raises their priorities."""

    def __init__(self, served: ServedLanes) -> None:
        self.boosts: dict[int, int] = {}
        """What to add to the priority of a lane; a lane without a boost is not in it."""
        self._served = served
        self._next_look = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether to ask the store again. Lanes that all have the same priority cannot starve each other."""
        return now >= self._next_look and self._served.has_levels

    def starving(self, lanes: Iterable[tuple[int, Lane]], now: float) -> list[tuple[int, Lane]]:
        """Return those of the open lanes that others may starve. The caller then passes their waiting times to
        `learn`."""
        self._next_look = now + AGES_INTERVAL
        found = list(lanes)
        highest = max((lane.priority for _, lane in found), default=0)
        return [each for each in found if each[1].priority < highest and self._served.settings(each[1].queue).ageing]

    def learn(self, waits: Mapping[int, int]) -> None:
        """Replace all boosts; `waits` says for how many microseconds the first job of each lane has waited."""
        self.boosts.clear()
        for number, waited in waits.items():
            lane = self._served[number]
            steps = int(waited / 1_000_000 / self._served.settings(lane.queue).ageing)
            if steps > 0:
                self.boosts[number] = min(steps, HIGHEST_PRIORITY - lane.priority)

    def forget(self, lanes: Iterable[int]) -> None:
        """Remove the boosts of these lanes: the jobs that had waited were claimed."""
        if self.boosts:
            for number in lanes:
                self.boosts.pop(number, None)

    def clear(self) -> None:
        """Remove all boosts."""
        self.boosts.clear()
