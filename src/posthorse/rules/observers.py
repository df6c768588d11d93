"""Durable observers of events: what one wants, and which jobs its events become. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from posthorse.rules.growth import OBSERVERS_QUEUE
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.job_events import Face, JobEvent, Missed

MAX_BATCH = 1_000
"""Events of one job of an observer, at most."""


class EventObserver(msgspec.Struct, frozen=True, kw_only=True):
    """A kind that is called with events.

    names: of the events that it wants. kinds, queues: of the jobs; None for all.
    batch: seconds for which events are gathered; None: each is a job of its own.
    make: makes the job from an event, or from a list of them.
    """

    name: str
    names: frozenset[str]
    kinds: frozenset[str] | None
    queues: frozenset[str] | None
    wants_missed: bool
    batch: float | None
    lane: Lane
    make: Callable[[object], NewJob]

    def wants(self, face: Face) -> bool:
        """Return whether it wants events of a job. Observers hear of each other only if they name their queue, because
        one that hears of itself would never end."""
        if face.kind == self.name or (self.kinds is not None and face.kind not in self.kinds):
            return False
        return face.queue != OBSERVERS_QUEUE if self.queues is None else face.queue in self.queues

    def is_due(self, count: int, waited: float) -> bool:
        """Return whether so many events that waited for so long, in seconds, are handed over now."""
        return bool(count) and (self.batch is None or count >= MAX_BATCH or waited >= self.batch)

    def jobs(self, events: Sequence[JobEvent | Missed]) -> Iterator[NewJob]:
        """Yield the jobs that events become."""
        if self.batch is None:
            yield from map(self.make, events)
        else:
            for begin in range(0, len(events), MAX_BATCH):
                yield self.make(list(events[begin : begin + MAX_BATCH]))
