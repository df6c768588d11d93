"""The capture of what jobs log: a handler that passes the records of a job's code to the recorder of its runner.

The context of each job names the job and the recorder, so coroutines, tasks and the threads of jobs need nothing else.
The handler writes nothing itself and never raises.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from itertools import count
from typing import Protocol, cast

from posthorse.rules.job_logs import StoredLine, encode_line, plain_fields
from posthorse.rules.values.texts import message_of, storable

JobInContext = tuple[str, str, int, int]
"""Id, kind, attempt and epoch of a job."""

JOB: ContextVar[JobInContext | None] = ContextVar("posthorse_job", default=None)
"""The job that runs in this context."""

OFF = 1_000
"""The level of a job whose lines are not recorded: above all others."""

MAX_MESSAGE, MAX_ERROR = 8_000, 8_000
"""Characters that are looked at; a line keeps fewer."""

OWN_FIELDS = ("job_id", "kind", "attempt", "tenant")
"""What Posthorse itself adds to records."""

TRACE_ID = "trace_id"
"""What it adds within a trace."""

_OF_STRUCTLOG = frozenset(("_logger", "_name", "exc_info", "stack_info"))
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOT_EXTRA = _USUAL | _OF_STRUCTLOG


class Recorder(Protocol):
    """What keeps the lines of jobs. It is called from any thread."""

    def level_of(self, job: JobInContext) -> int:
        """Return the level from which lines of a job are recorded; OFF for a job that has ended."""
        ...

    def take(self, job: JobInContext, line: bytes) -> None:
        """Take an encoded line."""
        ...

    def keeps_prints_of(self, job: JobInContext) -> bool:
        """Return whether what the job prints is kept, too."""
        ...

    def tenant_of(self, job: JobInContext) -> str | None:
        """Return the tenant of a job that runs."""
        ...


RECORDER: ContextVar[Recorder | None] = ContextVar("posthorse_recorder", default=None)
"""The recorder of the runner whose job runs in this context."""


class CapturingHandler(logging.Handler):
    """Passes records of jobs on, and leaves all others alone."""

    def createLock(self) -> None:  # noqa: N802  # as the base has it
        """Need no lock: the recorder has its own."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record of a job, if its level is recorded."""
        recorder, job = RECORDER.get(), JOB.get()
        if recorder is not None and job is not None:
            try:
                if record.levelno >= recorder.level_of(job):
                    recorder.take(job, encoded_line(record, (job[0], job[1], job[2], recorder.tenant_of(job))))
            except Exception:
                self.handleError(record)
        if len(logging.root.handlers) == 1:
            _leave_to_last_resort(record)
        return True


CAPTURING = CapturingHandler()


_users = count()
_open: set[int] = set()


def begin() -> int:
    """Begin to capture for one runner; `end` takes what this returns."""
    _open.add(user := next(_users))
    capture()
    return user


def end(user: int) -> None:
    """Remove the handler again after the last runner of this process: the logging of a user's process is the user's."""
    _open.discard(user)
    if not _open:
        for logger in (logging.root, *list(logging.Logger.manager.loggerDict.values())):
            if isinstance(logger, logging.Logger):
                logger.removeHandler(CAPTURING)


def capture() -> None:
    """Add the handler wherever records of jobs may arrive, unless it is there or no runner captures.

    That is the root logger, and loggers that pass nothing on to it. A configuration of the application's may have
    removed it: call this again now and then.
    """
    if not _open or CAPTURING in logging.root.handlers:
        return
    logging.root.addHandler(CAPTURING)
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.propagate:
            logger.addHandler(CAPTURING)  # adding it again does nothing


def encoded_line(record: logging.LogRecord, own: tuple[object, ...]) -> bytes:
    """Return a record as a line. `own` are the values of OWN_FIELDS, which every line of the job would have."""
    message, fields = message_in(record)
    fields |= extra_of(record)
    fields.pop(TRACE_ID, None)
    for name, value in zip(OWN_FIELDS, own, strict=True):
        if name in fields and fields[name] == value:
            del fields[name]
    return encode_line(
        StoredLine(
            int(record.created * 1e6),
            record.levelname,
            record.name,
            message[:MAX_MESSAGE],
            plain_fields(fields),
            traceback_in(record),
        )
    )


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what was given as `extra=`, without what structlog adds."""
    return {name: value for name, value in vars(record).items() if name not in _NOT_EXTRA}


def message_in(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the message, and fields that are a part of it: structlog may pass a dictionary to the formatter."""
    said = cast("object", record.msg)
    if isinstance(said, Mapping):
        told = {name: value for name, value in cast("Mapping[str, object]", said).items() if name not in _OF_STRUCTLOG}
        return str(told.pop("event", "")), told
    try:
        return record.getMessage(), {}
    except Exception as error:
        return f"{record.msg} {record.args} (not formatted: {message_of(error)})", {}


def traceback_in(record: logging.LogRecord) -> str | None:
    """Return the traceback of a record, and its stack; None if it has neither."""
    told = ""
    if record.exc_info and record.exc_info[0] is not None:
        told = "".join(traceback.format_exception(*record.exc_info))
    elif record.exc_text:
        told = record.exc_text
    if record.stack_info:
        told = f"{told}{record.stack_info}"
    return storable(told.rstrip("\n"), MAX_ERROR) if told else None


def _leave_to_last_resort(record: logging.LogRecord) -> None:
    """Print a warning that no other handler takes, as `logging` does if there is no handler at all."""
    last = logging.lastResort
    if last is None or record.levelno < last.level:
        return
    found = logging.Logger.manager.loggerDict.get(record.name)
    logger: logging.Logger | None = found if isinstance(found, logging.Logger) else logging.root
    while logger is not None:
        if any(handler is not CAPTURING for handler in logger.handlers):
            return
        logger = logger.parent if logger.propagate else None
    last.handle(record)
