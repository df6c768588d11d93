"""Batches of many sizes, claimed and completed: does a plan flip, depending on what the planner knows of the tables?

The store's own operations run over one connection, in turns, without a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.application import app, noop, opened
from bench.draining import enqueue
from bench.measure import Sample, Setup
from bench.stores import MeasuredStore, SqliteStore
from posthorse import ids
from posthorse.store.operations.claim import Probe, claim
from posthorse.store.operations.finish import Completion, complete
from posthorse.store.operations.runners import Runner, register

HOUR = 3_600_000_000

Learn = Callable[[MeasuredStore, str], None]


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second, beside raw SQL in batches of the same size."""
    for size in setup.sizes.batches:
        raw = setup.raw.claim_and_complete(setup.sizes.jobs, batch=size).both
        for knowledge, (before, after) in _knowledge(setup.store).items():
            with setup.store.fresh() as url, opened(url):
                before(setup.store, url)
                enqueue(noop.bind(number, 2) for number in range(setup.sizes.jobs))
                after(setup.store, url)
                yield Sample(f"claimed and completed {size:,} a batch{knowledge}", "jobs/s", _pace(setup, size), raw)


def _knowledge(store: MeasuredStore) -> dict[str, tuple[Learn, Learn]]:
    """Return what to do before the jobs come, and after, to let the planner know of them or not."""
    if isinstance(store, SqliteStore):
        return {"": (_nothing, _nothing)}
    return {
        ", nothing known": (_nothing, _nothing),
        ", known as empty": (_settle, _nothing),
        ", known as it is": (_nothing, _settle),
    }


def _nothing(store: MeasuredStore, url: str) -> None:
    """Leave the planner alone."""


def _settle(store: MeasuredStore, url: str) -> None:
    store.settle(url)


def _pace(setup: Setup, size: int) -> float:
    """Return the jobs per second of a connection that claims a batch, completes it, and claims the next."""
    store = app.store
    runner = Runner(ids.new_id(), ids.new_id(), "bench", 1, "0", size, (), ())
    store.run(register(runner, lease=HOUR))
    [number] = store.lanes({noop.bind(1, 2).template.lane}).values()
    after, done, began = 0, 0, time.perf_counter()
    while claimed := store.run(claim(runner.id, [Probe(number, after, 0)], size)):
        after = claimed[-1].seq
        store.run(complete(runner.id, [Completion(job.job, job.epoch, "null") for job in claimed]))
        done += len(claimed)
    seconds = time.perf_counter() - began
    if done != setup.sizes.jobs:
        raise RuntimeError(f"{done} of {setup.sizes.jobs} jobs were claimed; a figure from this would mean nothing")
    return done / seconds
