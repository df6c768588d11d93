"""The lines of a worker's log about jobs that ended. Of very many that complete in a second, only a few have one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from posthorse.clock import monotonic
from posthorse.rules.durations import lasted
from posthorse.rules.lifecycle import Transition
from posthorse.rules.values.texts import one_line
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import MAX_TOLD

log = logging.getLogger("posthorse.worker")

MAX_LINES = 20
"""Lines in a second; the other jobs are counted."""


def log_failure(running: RunningJob, transition: Transition, seconds: float) -> None:
    """Log that an attempt failed: what follows, how long it took, its error, and why it is not tried again."""
    level = logging.ERROR if transition.state.is_final else logging.WARNING
    error = transition.error
    if error is None or not log.isEnabledFor(level):
        return
    what, _, why = (transition.reason or "failed").partition(": ")
    label = running.label.without_attempt() if "attempt" in what else running.label
    message = one_line(error.message, MAX_TOLD)
    told = f"{error.type}: {message}" if message else error.type
    if why and why not in told:
        told += f" ({why})"
    log.log(level, "%s: %s, after %s: %s", label, what, lasted(seconds), told)


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
            log.info("%s: completed in %s", running.label, lasted(running.seconds))
        self._told += len(shown)
        if len(jobs) > len(shown):
            if not self._untold:
                asyncio.get_running_loop().call_later(max(0.0, self._since + 1 - now), self._tell_rest)
            self._untold += len(jobs) - len(shown)

    def _tell_rest(self) -> None:
        log.info("%d more jobs completed within a second", self._untold)
        self._untold = 0
