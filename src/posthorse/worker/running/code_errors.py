"""What is stored of an error: its texts, and a traceback that starts in the job's own code."""

from __future__ import annotations

from types import TracebackType

from posthorse.rules.job import JobError
from posthorse.rules.middleware import MiddlewareRun
from posthorse.worker.base.evidence import evidence_of
from posthorse.worker.running import onion, resources

OURS = (f"{__package__}.execution", onion.__name__, resources.__name__, MiddlewareRun.__module__)
"""Modules whose frames are removed from the start of a traceback."""


def evidence(error: BaseException) -> JobError:
    """Return an exception as it is stored with the job."""
    return evidence_of(error, _from_user_code(error.__traceback__))


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of the traceback that starts in the job's own code."""
    here = trace
    while here is not None and here.tb_frame.f_globals.get("__name__") in OURS:
        here = here.tb_next
    return here or trace
