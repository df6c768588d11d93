"""The loggers of Posthorse: still enabled after the application configured logging, and one line for each record.

By default, `logging.config.dictConfig` and `fileConfig` disable every existing logger that they do not name, and ours
exist before the application is imported. Handlers, levels and formats remain the application's.

Texts of jobs, errors and databases that our records quote cannot end a line or control a terminal.
"""

from __future__ import annotations

import logging
import traceback

from posthorse.rules.values.texts import is_one_line, message_of, one_line
from posthorse.worker.base.job_fields import JobLabel

ROOT = "posthorse"
OF_JOBS = "posthorse.job"
"""The logger of jobs' own records, which are not changed."""

MAX_TEXT = 2_000


def keep_loggers() -> None:
    """Enable the loggers of Posthorse again. An application silences one by setting its level, not by disabling it."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{ROOT}."):
            logger.disabled = False
            if name != OF_JOBS:
                logger.addFilter(keep_to_a_line)  # adding it again does nothing


def keep_to_a_line(record: logging.LogRecord) -> bool:
    """Escape what a record quotes; its message and level, which are ours, stay as they are."""
    if isinstance(record.args, tuple):
        record.args = tuple([arg if _is_harmless(arg) else _Quoted(arg) for arg in record.args])
    if record.exc_info and record.exc_text is None:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        # Indent these lines, so that no line of an error looks like a line of the log.
        record.exc_text = "\n".join(f"    {_spaces(line)}{one_line(line, MAX_TEXT)}" for line in lines)
    return True


class _Quoted:
    """An argument of a record, escaped when the line is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        value = self._value
        return one_line(message_of(value) if isinstance(value, BaseException) else str(value), MAX_TEXT)

    def __repr__(self) -> str:
        return one_line(repr(self._value), MAX_TEXT)


_AS_THEY_ARE = (int, float, _Quoted, JobLabel)


def _is_harmless(arg: object) -> bool:
    """Return whether a line can show it without escaping, as it can most texts."""
    return is_one_line(arg, MAX_TEXT) if type(arg) is str else isinstance(arg, _AS_THEY_ARE)


def _spaces(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]
