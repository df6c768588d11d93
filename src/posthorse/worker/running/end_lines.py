"""The lines of a worker's log about jobs that completed: each of them, or of very many in a second only a few."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from posthorse.clock import monotonic
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

MAX_LINES = 20
"""Lines in a second; the other jobs are counted."""


class EndLines:
    """The lines of one runner. It belongs to the loop of the runner."""

    def __init__(self) -> None:
        self._since = 0.0
        self._told = 0
        self._untold = 0

    def completed(self, jobs: Sequence[RunningJob]) -> None:
        """Log that jobs completed, and how long they took."""
        if not log.isEnabledFor(logging.INFO):
            return
        now = monotonic()
        if now >= self._since + 1:
            self._since, self._told = now, 0
        room = MAX_LINES - self._told
        shown = jobs if len(jobs) <= room else jobs[:room]
        for running in shown:
            log.info("%s: completed in %.3f s", running.label, running.seconds)
        self._told += len(shown)
        if len(jobs) > len(shown):
            if not self._untold:
                asyncio.get_running_loop().call_later(max(0.0, self._since + 1 - now), self._tell_rest)
            self._untold += len(jobs) - len(shown)

    def _tell_rest(self) -> None:
        log.info("%d more jobs completed within a second", self._untold)
        self._untold = 0
