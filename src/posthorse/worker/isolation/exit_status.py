"""What the end of a child was to its job. Pure: the reaper's words in, an outcome out."""

from __future__ import annotations

import os

import msgspec

from posthorse.rules.job import JobError
from posthorse.rules.lifecycle import Crashed, Outcome, Raised
from posthorse.rules.registry import KindOptions
from posthorse.rules.sizes import size_text
from posthorse.rules.slice_size import TIMED_OUT
from posthorse.worker.processes.process import described


class ExitStatus(msgspec.Struct, frozen=True):
    """How a child ended, as its reaper told."""

    status: int
    """As `waitpid` gives it; negative when nobody knows."""
    cause: str
    """`itself`, `left` (processes were found below it), `asked`, `orphaned`, `time`, `memory`; `unknown`."""
    held: int = 0
    """Bytes of memory that it and all below it held, when that was the cause."""
    left: int = 0
    """How many processes could not be killed."""


UNKNOWN = ExitStatus(-1, "unknown")


def parse(line: bytes) -> ExitStatus:
    """The last line of a reaper."""
    _, status, cause, held, left = line.split()
    return ExitStatus(int(status), cause.decode(), int(held), int(left))


def outcome_of(exit_status: ExitStatus, options: KindOptions) -> Outcome:
    """What the end of its process in the midst of a job is to the job, unless the runner had it ended."""
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
    """A wait status, for people."""
    if status < 0:
        return "nobody saw how, its reaper died with it"
    return described(os.waitstatus_to_exitcode(status))
