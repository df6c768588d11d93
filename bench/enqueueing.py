"""Enqueueing: how fast jobs become durable, one awaited after the other, sync and async; and many in a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from bench.application import app, noop, opened
from bench.measure import Sample, Setup
from bench.raw_limits import BULK


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second, beside inserts of single rows and of as many rows per commit."""
    singles, bulk = setup.sizes.singles, setup.sizes.bulk
    with setup.store.fresh() as url, opened(url):
        noop.enqueue(1, 2)  # opens the store
        raw = setup.raw.insert_singly(singles)
        yield Sample("enqueue, one after the other", "jobs/s", singles / _enqueue_singly(singles), raw)
        raw = setup.raw.insert_singly(singles)
        yield Sample("aenqueue, one after the other", "jobs/s", singles / asyncio.run(_aenqueue_singly(singles)), raw)
        raw = setup.raw.insert_in_bulk(bulk, batch=BULK)
        yield Sample(f"enqueue, {BULK:,} a call", "jobs/s", bulk / _enqueue_in_bulk(bulk), raw)


def _enqueue_singly(count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        noop.enqueue(number, 2)
    return time.perf_counter() - began


async def _aenqueue_singly(count: int) -> float:
    await noop.aenqueue(1, 2)  # opens what belongs to this loop
    began = time.perf_counter()
    for number in range(count):
        await noop.aenqueue(number, 2)
    return time.perf_counter() - began


def _enqueue_in_bulk(count: int) -> float:
    began = time.perf_counter()
    for first in range(0, count, BULK):
        app.enqueue_many([noop.bind(number, 2) for number in range(first, first + BULK)])
    return time.perf_counter() - began
