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

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", *OWN_FIELDS}


class Recorder(Protocol):
    """What keeps the lines of jobs. It is called from any thread."""

    def level_of(self, job: JobInContext) -> int:
        """Return the level from which lines of a job are recorded; OFF for a job that has ended."""
        ...

    def take(self, job: JobInContext, line: bytes) -> None:
        """Take an encoded line."""
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
                    recorder.take(job, encoded(record))
            except Exception:
                self.handleError(record)
        if logging.root.handlers == [self]:
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
    """Add the handler wherever records of jobs may arrive, unless it is there.

    That is the root logger, and loggers that pass nothing on to it. A configuration of the application's may have
    removed it: call this again now and then.
    """
    if CAPTURING in logging.root.handlers:
        return
    logging.root.addHandler(CAPTURING)
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.propagate:
            logger.addHandler(CAPTURING)  # adding it again does nothing


def encoded(record: logging.LogRecord) -> bytes:
    """Return a record as a line."""
    message, fields = _message_in(record)
    fields |= {name: value for name, value in vars(record).items() if name not in _USUAL}
    return encode_line(
        StoredLine(
            int(record.created * 1e6),
            record.levelname,
            record.name,
            message[:MAX_MESSAGE],
            plain_fields(fields),
            _error_in(record),
        )
    )


def _message_in(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the message, and fields that are a part of it: structlog may pass a dictionary to the formatter."""
    said = cast("object", record.msg)
    if isinstance(said, Mapping):
        told = dict(cast("Mapping[str, object]", said))
        return str(told.pop("event", "")), told
    try:
        return record.getMessage(), {}
    except Exception as error:
        return f"{record.msg} {record.args} (not formatted: {message_of(error)})", {}


def _error_in(record: logging.LogRecord) -> str | None:
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
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not CAPTURING for handler in logger.handlers):
            return
        logger = logger.parent if logger.propagate else None
    if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)
