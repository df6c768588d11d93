"""How a command ends: the exit codes, and which error means which."""

from __future__ import annotations

from enum import IntEnum

from posthorse.errors import (
    InvalidTransition,
    JobCancelled,
    JobFailed,
    JobNotFound,
    KeyConflict,
    NotUnique,
    QueueClosed,
    QueueFull,
    ScheduleNotFound,
    StockNotFound,
    StoreError,
    TookTooLong,
    UsageError,
)
from posthorse.rules.job import State


class StartFailed(Exception):
    """A function of `on_start` raised, so this process ran no job."""


class Exit(IntEnum):
    """The exit codes, on which scripts may rely."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    CANCELLED = 6
    UNSERVED = 7
    DEFECT = 70
    TIMED_OUT = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_MEANINGS: dict[type[Exception], Exit] = {
    UsageError: Exit.USAGE,
    JobNotFound: Exit.NOT_FOUND,
    ScheduleNotFound: Exit.NOT_FOUND,
    StockNotFound: Exit.NOT_FOUND,
    KeyConflict: Exit.CONFLICT,
    NotUnique: Exit.CONFLICT,
    InvalidTransition: Exit.CONFLICT,
    QueueFull: Exit.CONFLICT,
    QueueClosed: Exit.CONFLICT,
    TookTooLong: Exit.TIMED_OUT,
    StoreError: Exit.UNREACHABLE,
    JobFailed: Exit.JOB_FAILED,
    JobCancelled: Exit.CANCELLED,
    TimeoutError: Exit.TIMED_OUT,
}


def exit_of(error: BaseException) -> Exit:
    """Return the exit code for an error; DEFECT for an unexpected one."""
    for kind, code in _MEANINGS.items():
        if isinstance(error, kind):
            return code
    return Exit.DEFECT


def exit_of_states(states: list[State]) -> Exit:
    """Return the exit code for jobs that are over: failed wins over cancelled, and cancelled over completed."""
    if State.FAILED in states:
        return Exit.JOB_FAILED
    return Exit.CANCELLED if State.CANCELLED in states else Exit.OK
