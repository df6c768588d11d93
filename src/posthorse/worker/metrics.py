"""The metrics of an embedded worker, if it was asked to count: from events, with a listener as users write them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from posthorse.rules.emitter import Emitter
from posthorse.rules.events import Ended, Ending, Started

BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Upper bounds in seconds of the parts of a histogram; a last part counts the attempts that took longer."""


class Histogram(msgspec.Struct, frozen=True):
    """How long attempts took. `counts[i]` of them took at most `bounds[i]` seconds and longer than the bound before.

    There is one count more than there are bounds. total: the seconds of all attempts together.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class WorkerMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has done since it started.

    started: attempts that started. running: those that run now. ended: how many ended in which way.
    seconds: for each kind, how long its attempts took.
    """

    started: int
    running: int
    ended: Mapping[Ending, int]
    seconds: Mapping[str, Histogram]

    def in_words(self) -> str:
        """Return one line for a log."""
        ends = ", ".join(f"{count} {ending}" for ending, count in sorted(self.ended.items()))
        return f"{self.started} attempts started; {ends or 'none ended'}"


class Meter:
    """Counts of the events of some runners. Events come from the worker's loop only; any thread may read the counts."""

    def __init__(self) -> None:
        self.runners: set[str] = set()
        """The incarnations of this worker; other workers in this process share the emitter."""
        self._started = 0
        self._ended: dict[Ending, int] = {}
        self._counts: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def listening(self, emitter: Emitter) -> Iterator[None]:
        """Count what happens inside the block."""
        leave_one = emitter.subscribe(self._count_start, Started)
        leave_other = emitter.subscribe(self._count_end, Ended)
        try:
            yield
        finally:
            leave_one()
            leave_other()

    def metrics(self, *, running: int) -> WorkerMetrics:
        """Return what was counted so far."""
        counts = dict(self._counts)
        return WorkerMetrics(
            started=self._started,
            running=running,
            ended=dict(self._ended),
            seconds={kind: Histogram(BOUNDS, tuple(counts[kind]), self._seconds[kind]) for kind in counts},
        )

    def _count_start(self, event: Started) -> None:
        if event.runner in self.runners:
            self._started += 1

    def _count_end(self, event: Ended) -> None:
        if event.runner not in self.runners:
            return
        self._ended[event.outcome] = self._ended.get(event.outcome, 0) + 1
        self._seconds[event.kind] = self._seconds.get(event.kind, 0.0) + event.seconds
        counts = self._counts.setdefault(event.kind, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, event.seconds)] += 1
