"""Served lanes: those of a runner's kinds and queues, as long as their queue is open.

A queue is closed while it is paused, outside of its window, or if it requires labels that the worker does not have.
Pure: times come in, in microseconds on the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from posthorse.rules.job import Lane
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.store.operations.claim import Probe


class ServedLanes:
    """The lanes that a runner serves, and the settings of their queues."""

    def __init__(self, serves: Callable[[Lane], bool], *, labels: Mapping[str, str] | None = None) -> None:
        self.known = 0
        """The highest lane number that was added, served or not."""
        self.priorities: dict[int, int] = {}
        """The priority of each lane that is served, except lanes of suspects."""
        self.has_levels = False
        """True if some of these priorities are higher than others."""
        self._serves = serves
        self._labels = labels or {}
        self._lanes: dict[int, Lane] = {}
        self._not_served: dict[int, Lane] = {}
        """Lanes that are not served, because their kind is unknown; it may be registered later."""
        self._solo: list[int] = []
        self._queues: Mapping[str, QueueSettings] = {}
        self._closed: frozenset[str] = frozenset()

    def add(self, lanes: Iterable[tuple[int, Lane]]) -> Sequence[int]:
        """Add lanes; return those that are served from now on, including earlier ones whose kind was unknown."""
        for number, lane in lanes:
            self.known = max(self.known, number)
            self._not_served[number] = lane
        served = [number for number, lane in self._not_served.items() if self._serves(lane)]
        for number in served:
            self._lanes[number] = lane = self._not_served.pop(number)
            if lane.solo:
                self._solo.append(number)
            else:
                self.priorities[number] = lane.priority
        if served:
            self.has_levels = len(set(self.priorities.values())) > 1
        return served

    def obey(self, queues: Mapping[str, QueueSettings]) -> None:
        """Replace the settings of all queues; the next `open_at` applies them."""
        self._queues = queues

    def open_at(self, now: int) -> tuple[frozenset[str], frozenset[str]]:
        """Close and open queues as their settings say for this moment; return which were opened, and which closed."""
        before = self._closed
        self._closed = frozenset(
            name
            for name, settings in self._queues.items()
            if settings.is_closed(now) or not settings.fits(self._labels)
        )
        return before - self._closed, self._closed - before

    def settings(self, queue: str) -> QueueSettings:
        """Return the settings of a queue."""
        return self._queues.get(queue, DEFAULTS)

    def __getitem__(self, number: int) -> Lane:
        return self._lanes[number]

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of all served lanes, open or not."""
        return self._lanes.keys()

    def lanes(self) -> Iterable[Lane]:
        """Return all served lanes, open or not."""
        return self._lanes.values()

    def open(self, numbers: Iterable[int]) -> Iterator[tuple[int, Lane]]:
        """Yield those of these lanes whose queue is open, without lanes of suspects."""
        lanes, closed = self._lanes, self._closed
        for number in numbers:
            lane = lanes[number]
            if not lane.solo and lane.queue not in closed:
                yield number, lane

    def probes_for_suspects(self) -> Sequence[Probe]:
        """Return where to look for suspects. They are few, so their lanes have no low-water marks."""
        return by_priority(
            Probe(number, 0, self._lanes[number].priority)
            for number in self._solo
            if self._lanes[number].queue not in self._closed
        )


def by_priority(probes: Iterable[Probe]) -> Sequence[Probe]:
    """Return the probes sorted by priority, the highest first; probes of one priority keep their order."""
    return sorted(probes, key=_priority, reverse=True)


def _priority(probe: Probe) -> int:
    return probe.priority
