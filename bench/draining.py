"""Draining a queue, for every bench in which a worker does: the jobs, and the check that all of them were done."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

import posthorse as ph
from bench.application import app
from bench.stores import Tally

R = TypeVar("R")

CALL = 1_000
"""Jobs that one call enqueues."""


def enqueue(jobs: Iterable[ph.Call[R]]) -> None:
    """Enqueue jobs, CALL of them at a time."""
    left = iter(jobs)
    while some := list(islice(left, CALL)):
        app.enqueue_many(some)


def complete(tally: Tally, jobs: int) -> Tally:
    """Return the tally if it counts this many jobs."""
    if tally.completed != jobs:
        raise RuntimeError(f"{tally.completed} of {jobs} jobs were completed; a figure from this would mean nothing")
    return tally


def pace(tally: Tally) -> float:
    """Return jobs per second from the first start to the last end, on the store's clock."""
    return tally.completed * 1_000_000 / (tally.last_end - tally.first_start)
