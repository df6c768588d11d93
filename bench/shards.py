"""Shards: how much faster a long job is in parts over two processes, and how soon a job ends whose parts are uneven."""

from __future__ import annotations

from collections.abc import Iterator

from bench.application import DOZES, HEAVY, LIGHT, TARGET, doze, grind, opened
from bench.measure import Sample, Setup
from posthorse import Kind
from posthorse.cli.bench_measures import PATIENCE, running_worker

SHARDS, PROCESSES = 8, 2


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield items per second in parts beside one process; then seconds of an uneven job beside those of even parts."""
    items = setup.sizes.ground
    alone = _seconds(setup, grind, items, shards=None, processes=1, concurrency=1)
    cut = _seconds(setup, grind, items, shards=SHARDS, processes=PROCESSES, concurrency=1)
    yield Sample(f"work, {SHARDS} parts over {PROCESSES} processes", "items/s", items / cut, items / alone)
    each = setup.sizes.dozed
    ideal = each * (HEAVY + (SHARDS - 1) * LIGHT) / SHARDS
    uneven = _seconds(setup, doze, each * SHARDS, shards=SHARDS, processes=1, concurrency=SHARDS)
    yield Sample(f"{SHARDS} parts, the last one {DOZES}", "s", uneven, ideal)


def _seconds(
    setup: Setup, kind: Kind[[int], None], items: int, *, shards: int | None, processes: int, concurrency: int
) -> float:
    """Return how long a job takes, from its submission to its end, on the store's clock."""
    chosen = kind if shards is None else kind.using(shards=shards)
    store = setup.store
    with store.fresh() as url, opened(url), running_worker(TARGET, url, processes=processes, concurrency=concurrency):
        for _ in range(processes):
            grind.enqueue(1).result(timeout=PATIENCE)  # wait until the worker is ready
        job = chosen.enqueue(items)
        job.result(timeout=PATIENCE)
        status = job.status()
    assert status.finished_at is not None
    assert status.progress.done == items, status
    return (status.finished_at - status.created_at).total_seconds()
