"""Measuring a rival: the same questions as for every system, each in a fresh place.

1. Single jobs, each awaited before the next; then a worker clears them, idles, and picks up one job after the other.
2. Many jobs at once; then one process drains them, and in another place two do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.rivals.commands import commands
from bench.rivals.conversation import Conversation, RivalFailed, Workers, conversation, noted, pickups, working
from bench.rivals.environments import Home
from bench.rivals.places import FreshPlaces
from bench.rivals.table import Rival
from posthorse.cli.bench_measures import percentile, rest

PROCESSES = (1, 2)
NANO = 1_000_000_000


@dataclass(frozen=True)
class Counts:
    """How much is done for one sample."""

    jobs: int
    singles: int
    pickups: int


@dataclass(frozen=True)
class Sample:
    """The figures of one system in one round."""

    jobs: int
    worked: Mapping[int, float]
    """Jobs per second, by the number of processes, from the first start to the end of the last job's code."""
    acknowledged: Mapping[int, float]
    """The same, until the store knows that all of them ended."""
    singly: float
    """Jobs enqueued per second, each awaited."""
    bulk: float
    """Jobs enqueued per second, in the best way for many."""
    pickup_ms: float
    """Median from the call that enqueues to the first line of the job, with an idle worker."""


@dataclass(frozen=True)
class Arena:
    """The place and folder in which a rival is measured."""

    home: Home
    places: FreshPlaces
    scratch: Path
    """The folder of its working directory and tally."""


def measure(rival: Rival, arena: Arena, counts: Counts) -> Sample:
    """Take one sample. Raises RivalFailed, OSError."""
    jobs = min(counts.jobs, rival.most_jobs)
    singly, pickup = _measure_singles(rival, arena, counts)
    drains = {processes: _measure_drain(rival, arena, jobs, processes) for processes in PROCESSES}
    return Sample(
        jobs=jobs,
        worked={processes: drain.worked for processes, drain in drains.items()},
        acknowledged={processes: drain.acknowledged for processes, drain in drains.items()},
        singly=singly,
        bulk=max(drain.enqueued for drain in drains.values()),
        pickup_ms=pickup,
    )


@dataclass(frozen=True)
class _Drain:
    """Jobs per second while draining."""

    enqueued: float
    worked: float
    acknowledged: float


def _measure_singles(rival: Rival, arena: Arena, counts: Counts) -> tuple[float, float]:
    with arena.places.fresh() as url, tempfile.TemporaryDirectory(dir=arena.scratch) as folder:
        tally = Path(folder)
        start = commands(rival, arena.home, url=url, tally=tally, processes=1)
        with conversation(start.client, start.variables, tally) as client:
            client.ask("prepare")
            singly = counts.singles / client.ask("singly", counts.singles)
            with working(start.workers, start.variables, tally) as workers:
                workers.wait_until(lambda: noted(tally).jobs >= counts.singles, what="clearing the queue")
                workers.wait_until(lambda: client.ask("left") == 0, what="acknowledging every job")
                for number in range(counts.pickups + 1):  # the first one opens what a client opens lazily
                    _pick_up(client, workers, tally, number)
        return singly, percentile(pickups(tally)[1:], 0.5)


def _pick_up(client: Conversation, workers: Workers, tally: Path, number: int) -> None:
    # The pause is random, so that a job meets a polling worker at any moment of its interval.
    rest()
    client.ask("pickup")
    workers.wait_until(lambda: len(pickups(tally)) > number, what="picking a job up")


def _measure_drain(rival: Rival, arena: Arena, jobs: int, processes: int) -> _Drain:
    with arena.places.fresh() as url, tempfile.TemporaryDirectory(dir=arena.scratch) as folder:
        tally = Path(folder)
        start = commands(rival, arena.home, url=url, tally=tally, processes=processes)
        with conversation(start.client, start.variables, tally) as client:
            client.ask("prepare")
            enqueueing = client.ask("bulk", jobs)
            arena.places.settle(url)
            with working(start.workers, start.variables, tally) as workers:
                workers.wait_until(lambda: noted(tally).jobs >= jobs, what=f"working off {jobs:,} jobs")
                workers.wait_until(lambda: client.ask("left") == 0, what="acknowledging every job")
                known = time.monotonic_ns()
                told = noted(tally)
    if told.jobs != jobs:
        raise RivalFailed(f"{told.jobs:,} runs of {jobs:,} jobs; a figure from this would mean nothing")
    return _Drain(
        enqueued=jobs / enqueueing,
        worked=jobs * NANO / (told.last_end - told.first_start),
        acknowledged=jobs * NANO / (known - told.first_start),
    )
