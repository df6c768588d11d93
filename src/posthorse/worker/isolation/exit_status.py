"""The exit status of a child, and what it means for its job. Pure: the reaper's report in, an outcome out."""

from __future__ import annotations

import os

import msgspec

from posthorse.rules.byte_sizes import size_text
from posthorse.rules.job import JobError
from posthorse.rules.outcomes import Crashed, Outcome, Raised
from posthorse.rules.registry import KindOptions
from posthorse.rules.slice_size import TIMED_OUT
from posthorse.worker.base.process import exit_in_words


class ExitStatus(msgspec.Struct, frozen=True):
    """How a child ended, as its reaper reported."""

    status: int
    """As `waitpid` returns it; negative if unknown."""
    cause: str
    """`itself`, `left` (processes were found below it), `asked`, `orphaned`, `time`, `memory` or `unknown`."""
    held: int = 0
    """Bytes that it and all processes below it used, if memory was the cause."""
    left: int = 0
    """How many processes could not be killed."""


UNKNOWN = ExitStatus(-1, "unknown")


def parse(line: bytes) -> ExitStatus:
    """Parse the last line of a reaper."""
    _, status, cause, held, left = line.split()
    return ExitStatus(int(status), cause.decode(), int(held), int(left))


def outcome_of(exit_status: ExitStatus, options: KindOptions) -> Outcome:
    """Return the outcome of a job whose process ended while it ran, unless the runner ended it."""
    if exit_status.cause == "time":
        limit = f"{options.kill_after or 0:g} s"
        return Raised(JobError(type="KilledAfter", message=f"{TIMED_OUT}kill_after of {limit}, and was killed"))
    if exit_status.cause == "memory":
        allowed = size_text(options.max_memory or 0)
        detail = (
            f"its process and those below held {size_text(exit_status.held)}, more than its max_memory of {allowed}"
        )
    else:
        detail = f"its process died: {status_in_words(exit_status.status)}"
    return Crashed(detail, alone=True, is_contained=True)


def status_in_words(status: int) -> str:
    """Describe a wait status for people."""
    if status < 0:
        return "how is unknown, because its reaper died with it"
    return exit_in_words(os.waitstatus_to_exitcode(status))
