"""Ours: Posthorse in the same rounds, with the project's own benches and no code made for the comparison."""

from __future__ import annotations

from dataclasses import replace

from bench import enqueueing, pickup, throughput
from bench.measure import FULL, Setup
from bench.raw_limits import RawLimits
from bench.rivals.measuring import PROCESSES, Counts, Sample
from bench.stores import MeasuredStore

CONCURRENCY = 10
"""The default of `posthorse worker`."""

SETTINGS = "as it comes: 10 jobs at once; `enqueue_many` of 1,000"


def measure(store: MeasuredStore, raw: RawLimits, counts: Counts) -> Sample:
    """Take one sample. Its rate ends when the store knows of the last job's end, so both rates are the same."""
    sizes = replace(FULL, jobs=counts.jobs, singles=counts.singles, bulk=counts.jobs, pickups=counts.pickups)
    setup = Setup(store=store, raw=raw, sizes=sizes, concurrency=CONCURRENCY, processes=PROCESSES)
    samples = (sample for bench in (throughput, enqueueing, pickup) for sample in bench.measure(setup))
    figures = {sample.name: sample.ours for sample in samples}
    worked = {1: figures["async jobs, 1 process"], 2: figures["async jobs, 2 processes"]}
    return Sample(
        jobs=counts.jobs,
        worked=worked,
        acknowledged=worked,
        singly=max(figures["enqueue, one after the other"], figures["aenqueue, one after the other"]),
        bulk=figures["enqueue, 1,000 a call"],
        pickup_ms=figures["pickup by a worker process, p50"],
    )
