"""Log lines of a worker's processes: one for each record, with the job whose code wrote it."""

from __future__ import annotations

import logging
import sys

from posthorse.worker.base.capture import JOB
from posthorse.worker.base.loggers import OF_JOBS, ROOT, keep_loggers

_ours: list[logging.Handler] = []
"""The handler of this process; none in a process that is not ours."""


def configure_logging(level: str | int) -> None:
    """Log to stderr, one line for each record, from this level on, given by name or number."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"))
    handler.setLevel(level.upper() if isinstance(level, str) else level)
    logging.basicConfig(level=handler.level, handlers=[handler])
    _ours[:] = [handler]
    keep_loggers()


def log_level() -> int:
    """Return the level of the log of this process."""
    if _ours and _ours[0] in logging.root.handlers:
        return _ours[0].level
    return logging.root.getEffectiveLevel()


def hear_from(level: int) -> None:
    """Let records be made from this level on, for the lines of jobs; the log of this process keeps its own level.

    If the application has configured logging, its levels stay.
    """
    if _ours and _ours[0] in logging.root.handlers and logging.root.level > level:
        ours = logging.getLogger(ROOT)
        if ours.level == logging.NOTSET:
            ours.setLevel(_ours[0].level)
        logging.getLogger(OF_JOBS).setLevel(level)
        logging.root.setLevel(level)


class _Line(logging.Formatter):
    """A line of the log; records of a job's code, and of libraries that it calls, are followed by the job."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as the base has it
        line = super().formatMessage(record)
        job = JOB.get()
        names_it_itself = record.name.startswith("posthorse.") and record.name != OF_JOBS
        return line if job is None or names_it_itself else f"{line} [job {job[0]} ({job[1]}), attempt {job[2]}]"
