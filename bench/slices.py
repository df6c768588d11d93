"""Slices and their cost, if the body of a long job does nothing: reading, and committing the cursor and the
progress."""

from __future__ import annotations

from collections.abc import Iterator

from bench.application import TARGET, awalk, opened, walk
from bench.measure import Sample, Setup
from posthorse import Kind
from posthorse.cli.bench_measures import PATIENCE, running_worker

KINDS: dict[str, Kind[[int, int], float]] = {"a slice": walk, "a slice, async": awalk}


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield milliseconds per slice, beside the commit of one small row, rewritten as often."""
    sizes, store = setup.sizes, setup.store
    slices = sizes.items // sizes.slice_size
    with store.fresh() as url, opened(url), running_worker(TARGET, url, processes=1, concurrency=setup.concurrency):
        walk.enqueue(1, 1).result(timeout=PATIENCE)  # wait until the worker is ready
        for name, kind in KINDS.items():
            raw = setup.raw.commit_cursor(slices)
            seconds = kind.enqueue(sizes.items, sizes.slice_size).result(timeout=PATIENCE)
            yield Sample(name, "ms", seconds * 1_000 / slices, 1_000 / raw)
