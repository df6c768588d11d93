"""Programs that a stop ended, and the errors that follow: a signal to a process group also ends programs of jobs.

A service manager or Ctrl-C signals all processes of the group at once. A job then fails because its program died,
although nothing is wrong with the job: it is released, as if it had been asked to stop.
"""

from __future__ import annotations

import asyncio
import math
import re
import resource
from collections.abc import Callable

from posthorse.clock import monotonic
from posthorse.rules.job import JobError
from posthorse.rules.outcomes import Raised
from posthorse.worker.base.process_signals import seconds_since_signal

PATIENCE, LOOK_INTERVAL = 0.5, 0.05
"""Seconds to wait for the worker's stop if an error says that a signal ended a program, and between checks."""

MOMENT = 0.1
"""Seconds to wait after any other error, if programs of jobs have ended in this process: a program that was stopped may
make its job fail before the signal reaches this process."""

_DIED_BY_SIGNAL = re.compile(r"died with <Signals\.SIG(?:TERM|INT): \d+>|returned non-zero exit status (?:130|143)\b")
"""The words of `subprocess.CalledProcessError` for a program, and for a shell that ran one."""

_BY_PROGRAM = ("died with <Signals.SIG", "returned non-zero exit status 1")
"""How those words begin. Most errors have neither, and this search takes a fraction of the time."""


def may_be_caused_by_stop(outcome: Raised, *, patience: float) -> bool:
    """Return False if it is known already that the stop of this worker is not the cause, as of most errors."""
    if outcome.gives_up is not None or outcome.wait is not None:
        return False
    return seconds_since_signal() < patience or tells_of_signal(outcome.error) or _has_had_programs()


async def was_caused_by_stop(outcome: Raised, is_stopping: Callable[[], bool], *, patience: float) -> bool:
    """Return whether a job failed because this worker is being stopped, as far as that can be known.

    `patience`: seconds to wait for the worker's stop after this very process received a signal.
    """
    if outcome.gives_up is not None or outcome.wait is not None:
        return False  # the job or its options decided what follows
    is_told = tells_of_signal(outcome.error)
    until = monotonic() + (PATIENCE if is_told else MOMENT if _has_had_programs() else 0)
    while True:
        since = seconds_since_signal()
        if is_stopping() and (is_told or since < math.inf):
            return True
        if since >= patience and monotonic() >= until:
            return False
        await asyncio.sleep(LOOK_INTERVAL)


def _has_had_programs() -> bool:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def tells_of_signal(error: JobError) -> bool:
    """Return whether an error, or what caused it, is that a program died of SIGTERM or SIGINT."""
    told = f"{error.message}\n{error.traceback or ''}"
    by_signal, by_status = _BY_PROGRAM
    return (by_signal in told or by_status in told) and _DIED_BY_SIGNAL.search(told) is not None
