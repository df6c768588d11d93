"""Keeps what Posthorse logs audible after the application configured logging, and each record to a line.

By default, `logging.config.dictConfig` and `fileConfig` disable every logger that exists and that they do not name.
Ours exist before the application is imported. Handlers, levels and formats stay the application's.

Texts of jobs, errors and databases that our records quote cannot end a line or control a terminal.
"""

from __future__ import annotations

import logging
import traceback

from posthorse.rules.values.texts import is_one_line, message_of, one_line

ROOT = "posthorse"
OF_JOBS = "posthorse.job"
"""What jobs log themselves: their own texts, in their own form."""

MAX_TEXT = 2_000


def keep_loggers() -> None:
    """Enable the loggers of Posthorse again. To silence one, give it a level: a configuration that names it may."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{ROOT}."):
            logger.disabled = False
            if name != OF_JOBS:
                logger.addFilter(keep_to_a_line)  # once, however often


def keep_to_a_line(record: logging.LogRecord) -> bool:
    """Make what a record quotes harmless; what is ours in it, its message and levels, stays as it is."""
    if isinstance(record.args, tuple):
        record.args = tuple([arg if _is_harmless(arg) else _Quoted(arg) for arg in record.args])
    if record.exc_info and record.exc_text is None:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        # Set in, so that no line of an error looks like a line of the log.
        record.exc_text = "\n".join(f"    {_spaces(line)}{one_line(line, MAX_TEXT)}" for line in lines)
    return True


class _Quoted:
    """An argument of a record, as a line shows it once it is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        value = self._value
        return one_line(message_of(value) if isinstance(value, BaseException) else str(value), MAX_TEXT)

    def __repr__(self) -> str:
        return one_line(repr(self._value), MAX_TEXT)


_AS_THEY_ARE = (int, float, _Quoted)


def _is_harmless(arg: object) -> bool:
    """Return True for what a line shows as it is: most texts are."""
    return is_one_line(arg, MAX_TEXT) if type(arg) is str else isinstance(arg, _AS_THEY_ARE)


def _spaces(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]
