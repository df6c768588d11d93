"""Durable observers of events: what one wants, and which jobs its events become. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from posthorse.errors import TooLarge
from posthorse.rules.growth import OBSERVERS_QUEUE
from posthorse.rules.job import JobError, Lane, NewJob
from posthorse.rules.job_events import Face, JobEvent, StreamEvent

MAX_BATCH = 1_000
"""Events of one job of an observer, at most. They are fewer if so many are too large for the arguments of one job."""

MAX_ERROR = 200
"""Characters that are left of the message of an error whose event is too large by itself."""


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

    def jobs(self, events: Sequence[StreamEvent]) -> Iterator[NewJob]:
        """Yield the jobs that events become. Raises TooLarge if even one event without its error is too large."""
        size = 1 if self.batch is None else MAX_BATCH
        for begin in range(0, len(events), size):
            yield from self._jobs_of(list(events[begin : begin + size]))

    def _jobs_of(self, events: list[StreamEvent]) -> Sequence[NewJob]:
        """Make one job of events, or several if they are too large for one."""
        try:
            return [self._job_of(events)]
        except TooLarge:
            if len(events) == 1:
                return [self._job_of([_with_short_error(events[0])])]
        half = len(events) // 2
        return [*self._jobs_of(events[:half]), *self._jobs_of(events[half:])]

    def _job_of(self, events: list[StreamEvent]) -> NewJob:
        return self.make(events[0] if self.batch is None else events)


def _with_short_error(event: StreamEvent) -> StreamEvent:
    if not isinstance(event, JobEvent) or event.error is None:
        return event
    short = JobError(event.error.type, event.error.message[:MAX_ERROR])
    return msgspec.structs.replace(event, error=short)
