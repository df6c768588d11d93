"""Samples of the whole store, for metrics: how deep queues are, how many workers are alive, what is late.

A sample is taken when a page of metrics is read, and not sooner after the one before than its cost allows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from posthorse.clock import SECOND, monotonic
from posthorse.errors import PosthorseError
from posthorse.store.base import QuerySteps, operation
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import next_due
from posthorse.store.operations.schedules import schedules
from posthorse.store.operations.stock import stock_sample
from posthorse.store.operations.tallies import DepthRow, depths_now
from posthorse.store.store import Store

SHARE = 20
"""A sample that took t seconds is followed by another after 20 t at the earliest."""

MOST = 10_000
"""Jobs up to which a depth is counted."""

MAX_WAIT = 2.0
"""Seconds that a page of metrics waits for a sample; it then shows the one before."""

log = logging.getLogger("posthorse.worker")


class StoreSample(NamedTuple):
    """What the store held at a moment. workers: those that are alive. late: seconds by which the next job is late.

    skipped: how many times of each schedule were skipped. stocks: how many results each stock has, by its name and
    their state, and since when the oldest.
    """

    at: int
    depths: Mapping[str, DepthRow]
    workers: int
    late: float
    skipped: Mapping[str, int]
    stocks: Mapping[tuple[str, str], tuple[int, int]] = {}


class StoreSamples:
    """The newest sample of a store, which `Tuning.depths_interval` and its own cost keep from being taken too often."""

    def __init__(self, store: Store, *, lease: float) -> None:
        self._store = store
        self._lease = round(lease * SECOND)
        self._due_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._sample: StoreSample | None = None

    async def newest(self) -> StoreSample | None:
        """Return the newest sample; None while the store cannot be read."""
        if self._task is None and monotonic() >= self._due_at:
            self._task = asyncio.create_task(self._take())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=MAX_WAIT)
        return self._sample

    async def _take(self) -> None:
        began = monotonic()
        try:
            self._sample = await self._store.alook(_sample(self._lease))
        except PosthorseError as error:
            log.debug("cannot sample the store for metrics: %s", error)
            self._sample = None
        except Exception:  # a driver may raise anything, and an old sample must not pass for a new one
            log.exception("cannot sample the store for metrics")
            self._sample = None
        finally:
            ended = monotonic()
            self._due_at = max(began + self._store.tuning.depths_interval, ended + SHARE * (ended - began))
            self._task = None


@operation
def _sample(lease: int) -> QuerySteps[StoreSample]:
    depths = yield from depths_now(MOST).start()
    alive = {row.worker for row in (yield from workers().start()) if row.silent_for <= lease}
    due = yield from next_due().start()
    rows = yield from schedules().start()
    stocks = {(name, state): (count, since) for name, state, count, since in (yield from stock_sample().start())}
    late = 0.0 if due.job is None else max(0.0, -due.job / SECOND)
    return StoreSample(due.now, depths, len(alive), late, {row.name: row.skipped for row in rows}, stocks)
