"""Waiting in tests: look until something is so, or fail and say what was waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

import posthorse as ph

PATIENCE = 30.0
"""Seconds after which a test gives up; only a failing one waits that long."""


def until(is_so: Callable[[], object], *, what: str = "", patience: float = PATIENCE) -> None:
    """Returns once `is_so()` is true. Raises AssertionError when it does not become so."""
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what or is_so}"
        time.sleep(0.005)


def until_state(job: ph.Job[object], *states: str, patience: float = PATIENCE) -> ph.Status:
    """The status of a job once it is in one of these states."""
    until(lambda: job.status().state in states, what=f"{job} becomes {' or '.join(states)}", patience=patience)
    return job.status()
