"""The lines of a worker's log about jobs that ended. Of very many that complete in a second, only a few have one."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from functools import cache

from posthorse.clock import monotonic
from posthorse.rules.durations import lasted
from posthorse.rules.lifecycle import Transition
from posthorse.rules.tuning import DEFAULTS
from posthorse.rules.values.texts import one_line
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import MAX_TOLD

log = logging.getLogger("posthorse.worker")

MAX_LINES = 20
"""Lines in `Tuning.end_lines_interval`, a second; the other jobs are counted."""


def log_failure(running: RunningJob, transition: Transition, seconds: float) -> None:
    """Log that an attempt failed: what follows, how long it took, its error, and why it is not tried again."""
    level = logging.ERROR if transition.state.is_final else logging.WARNING
    error = transition.error
    if error is None or not log.isEnabledFor(level):
        return
    what, _, why = (transition.reason or "failed").partition(": ")
    label = running.label_without_attempt if "attempt" in what else running.label
    message = one_line(error.message, MAX_TOLD)
    told = f"{error.type}: {message}" if message else error.type
    if why and why not in told:
        told += f" ({why})"
    _write(level, "%s: %s, after %s: %s", label, what, lasted(seconds), told)


def _write(level: int, words: str, *args: object) -> None:
    """Do as `log.log` does for a level that is enabled, without a search for the caller for each line."""
    file, line, function = _place_of_caller()
    log.handle(log.makeRecord(log.name, level, file, line, words, args, None, function))


@cache
def _place_of_caller() -> tuple[str, int, str]:
    """Return where `_write` is called: its records come from there. There is one such place."""
    here = inspect.currentframe()
    writing = None if here is None else here.f_back
    caller = None if writing is None else writing.f_back
    return ("", 0, "") if caller is None else (caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)


class EndLines:
    """The lines of one runner. It belongs to the loop of the runner."""

    def __init__(self, interval: float = DEFAULTS.end_lines_interval) -> None:
        self._interval = interval
        self._since = 0.0
        self._told = 0
        self._untold = 0

    def completed(self, jobs: Sequence[RunningJob]) -> None:
        """Log that jobs completed, and how long they took."""
        if not log.isEnabledFor(logging.INFO):
            return
        now = monotonic()
        if now >= self._since + self._interval:
            self._since, self._told = now, 0
        room = MAX_LINES - self._told
        shown = jobs if len(jobs) <= room else jobs[:room]
        for running in shown:
            log.info("%s: completed in %s", running.label, lasted(running.seconds))
        self._told += len(shown)
        if len(jobs) > len(shown):
            if not self._untold:
                left = max(0.0, self._since + self._interval - now)
                asyncio.get_running_loop().call_later(left, self._tell_rest)
            self._untold += len(jobs) - len(shown)

    def _tell_rest(self) -> None:
        log.info("%d more jobs completed within a second", self._untold)
        self._untold = 0
