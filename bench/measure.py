"""The measures: what a bench is given for one round, and the samples that it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.raw_limits import BULK, RawLimits
from bench.stores import MeasuredStore


@dataclass(frozen=True)
class Sizes:
    """How much is done for one sample."""

    jobs: int
    """Jobs that are enqueued and then drained; whole thousands, because the raw limits insert them so."""
    singles: int
    """Commits of one row each."""
    bulk: int
    pickups: int
    items: int
    rest: float
    """Seconds for which a worker is left at rest."""
    slice_size: int = 1_000
    held: int = 100_000
    """Jobs that a limit holds back; whole thousands."""
    burden: int = 1_000_000
    """Jobs that wait for another worker, or for their time."""
    finished: int = 1_000_000
    """Jobs that ended long ago."""
    queues: int = 10_000
    batches: Sequence[int] = (10, 100, 200, 500, 1_000)
    """Jobs that are claimed at once."""
    crowds: Sequence[int] = (2, 50)
    """Runners that have nothing to do."""
    many: int = 100_000
    """Small jobs over which memory should stay flat; whole thousands."""
    large: int = 1_000
    """Jobs with large arguments."""
    pinned: int = 20
    """How many times `jobs` are drained while another session holds a snapshot."""
    waiting: int = 1_000
    """Callers that wait for a result."""
    ground: int = 2_000
    """Items of a job that needs the processor, ten milliseconds each."""
    dozed: int = 1_000
    """Items of each part of a job that sleeps."""
    deep: int = 10
    """How many times `jobs` are drained from many queues."""


FULL = Sizes(jobs=20_000, singles=2_000, bulk=20_000, pickups=200, items=1_000_000, rest=20.0)
QUICK = Sizes(
    jobs=BULK,
    singles=20,
    bulk=BULK,
    pickups=5,
    items=10_000,
    rest=0.5,
    held=1_000,
    burden=2_000,
    finished=2_000,
    queues=300,
    batches=(10, 1_000),
    crowds=(2,),
    many=2_000,
    large=20,
    pinned=10,
    waiting=100,
    ground=40,
    dozed=4,
    deep=1,
)


@dataclass(frozen=True)
class Setup:
    """A store, its yardstick, and the sizes to measure."""

    store: MeasuredStore
    raw: RawLimits
    sizes: Sizes
    concurrency: int
    processes: Sequence[int]


@dataclass(frozen=True)
class Sample:
    """One figure of one round; `raw` is the bare database's, measured just before."""

    name: str
    unit: str
    ours: float
    raw: float | None = None


Measure = Callable[[Setup], Iterator[Sample]]
