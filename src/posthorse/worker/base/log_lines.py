"""The log of a worker's own processes: where it goes, its level and its format."""

from __future__ import annotations

import logging
import sys

from posthorse.worker.base.log_formats import LogFormat, formatter_for
from posthorse.worker.base.loggers import OF_JOBS, ROOT, keep_loggers

_ours: list[tuple[logging.Handler, LogFormat]] = []
"""The handler of this process, and its format; none in a process that is not ours."""


_heard: list[int] = []
"""The level that `hear_from` gave the root logger, until something else changes it."""


def configure_logging(level: str | int, log_format: LogFormat = "text") -> None:
    """Log to stderr, one line for each record, from this level on, given by name or number."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_for(log_format, sys.stderr))
    handler.setLevel(level.upper() if isinstance(level, str) else level)
    logging.basicConfig(level=handler.level, handlers=[handler])
    _ours[:] = [(handler, log_format)]
    keep_loggers()


def log_level() -> int:
    """Return the level of the log of this process."""
    handler = _handler()
    return logging.root.getEffectiveLevel() if handler is None else handler.level


def log_format() -> LogFormat:
    """Return the format of the log of this process."""
    return _ours[0][1] if _ours else "text"


def hear_from(level: int) -> None:
    """Let records be made from this level on, for the lines of jobs; the log of this process keeps its own level.

    If the application has configured logging, its levels stay. A higher level than the last one takes that back.
    """
    handler = _handler()
    if handler is None:
        return
    level = min(level, handler.level)
    if logging.root.level > level or [logging.root.level] == _heard:
        ours = logging.getLogger(ROOT)
        if ours.level == logging.NOTSET:
            ours.setLevel(handler.level)
        logging.getLogger(OF_JOBS).setLevel(level)
        logging.root.setLevel(level)
        _heard[:] = [level]


def _handler() -> logging.Handler | None:
    """Return the handler of this process, unless the application removed it."""
    return _ours[0][0] if _ours and _ours[0][0] in logging.root.handlers else None
