"""Waiting in tests: look until something is so, or fail and say what was waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import posthorse as ph

PATIENCE = 30.0
"""Seconds after which a test gives up; only a failing one waits that long."""


def until(is_so: Callable[[], object], *, what: str = "", patience: float = PATIENCE) -> None:
    """Return once `is_so()` is true. Raises AssertionError if it does not become so."""
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what or is_so}"
        time.sleep(_pause(deadline - patience))


async def auntil(is_so: Callable[[], Awaitable[object]], *, what: str = "", patience: float = PATIENCE) -> None:
    """Do the same as `until`, with a coroutine function."""
    deadline = time.monotonic() + patience
    while not await is_so():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what or is_so}"
        await asyncio.sleep(_pause(deadline - patience))


def _pause(began: float) -> float:
    """Return seconds until the next look: the longer the wait lasts, the less they take from what is waited for."""
    return min(0.005 + (time.monotonic() - began) / 20, 0.03)


def until_state(job: ph.Job[object], *states: str, patience: float = PATIENCE) -> ph.Status:
    """Return the status of a job once it is in one of these states, as it was seen: the next look may find another."""
    seen: list[ph.Status] = []

    def is_there() -> bool:
        seen[:] = [job.status()]
        return seen[0].state in states

    until(is_there, what=f"{job} becomes {' or '.join(states)}", patience=patience)
    return seen[0]
