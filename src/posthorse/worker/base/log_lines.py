"""Log lines of a worker's processes: one for each record, with the job whose code wrote it."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

from posthorse.worker.base.loggers import OF_JOBS, keep_loggers

JOB: ContextVar[tuple[str, str, int] | None] = ContextVar("posthorse_job", default=None)
"""Id, kind and attempt of the job that runs in this context."""


def configure_logging(level: str | int) -> None:
    """Log to stderr, one line for each record, from this level on, given by name or number."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper() if isinstance(level, str) else level, handlers=[handler])
    keep_loggers()


class _Line(logging.Formatter):
    """A line of the log; records of a job's code, and of libraries that it calls, are followed by the job."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as the base has it
        line = super().formatMessage(record)
        job = JOB.get()
        names_it_itself = record.name.startswith("posthorse.") and record.name != OF_JOBS
        return line if job is None or names_it_itself else f"{line} [job {job[0]} ({job[1]}), attempt {job[2]}]"
