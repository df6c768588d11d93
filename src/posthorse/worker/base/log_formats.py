"""The formats of a worker's own log: text for people, JSON and logfmt for programs. Each record is one line."""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from posthorse.rules.values.texts import storable
from posthorse.worker.base.job_fields import job_fields_of
from posthorse.worker.base.log_capture import JOB, extra_of, message_in, traceback_in
from posthorse.worker.base.loggers import OF_JOBS

LogFormat = Literal["text", "json", "logfmt"]

_COLORS = {"DEBUG": "90", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_LEVEL_WIDTH = 7
_BARE = re.compile(r"[^\s\"=\\]+")
"""What logfmt shows without quotation marks."""


def formatter_for(name: LogFormat, stream: TextIO) -> logging.Formatter:
    """Return the formatter of this name; text has colours on a terminal."""
    if name == "json":
        return JsonFormat()
    if name == "logfmt":
        return LogfmtFormat()
    return TextFormat(has_color=_has_color(stream))


class TextFormat(logging.Formatter):
    """A line for people; records of a job's code, and of libraries that it calls, are followed by the job."""

    def __init__(self, *, has_color: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self._has_color = has_color

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as the base has it
        level = record.levelname.ljust(_LEVEL_WIDTH)
        color = _COLORS.get(record.levelname) if self._has_color else None
        shown = level if color is None else f"\x1b[{color}m{level}\x1b[0m"
        line = f"{record.asctime} {shown} {record.process} {record.name}: {record.message}"
        job = JOB.get()
        names_it_itself = record.name.startswith("posthorse.") and record.name != OF_JOBS
        return line if job is None or names_it_itself else f"{line} [job {job[0]} ({job[1]}), attempt {job[2]}]"


class JsonFormat(logging.Formatter):
    """An object for each record: time, level, logger, message, process, the job, and what was given as `extra=`."""

    def format(self, record: logging.LogRecord) -> str:
        return _harmless(_encode(_told(record)).decode())


class LogfmtFormat(logging.Formatter):
    """Names and values, in the same order as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{_name(name)}={_value(value)}" for name, value in _told(record).items())


def _told(record: logging.LogRecord) -> dict[str, object]:
    message, fields = message_in(record)
    told: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname,
        "logger": record.name,
        "message": _whole(message),
        "process": record.process,
        **{name: value for name, value in job_fields_of(record).items() if value is not None},
    }
    for name, value in {**fields, **extra_of(record)}.items():
        told.setdefault(_whole(name), _plain(value))
    if (error := traceback_in(record)) is not None:
        told["error"] = error
    return told


def _plain(value: object) -> object:
    """Return a value that has a form in JSON, or what Python shows for it."""
    if isinstance(value, str):
        return _whole(value)
    try:
        return msgspec.Raw(_encode(value))
    except Exception:  # a value of the user's may raise anything
        try:
            return _whole(repr(value))
        except Exception as broken:
            return f"<it cannot be shown: {type(broken).__name__}>"


def _whole(text: str) -> str:
    return storable(text, max(1, 6 * len(text)))


def _name(name: str) -> str:
    return "".join(character if _BARE.fullmatch(character) else "_" for character in name) or "_"


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = value if isinstance(value, str) else _encode(value).decode()
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return _harmless(_encode(text).decode())


def _harmless(text: str) -> str:
    """Escape in JSON what could control a terminal; it reads back as it was."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "".join(f"\\u{unit:04x}" for unit in _units(character))


def _units(character: str) -> tuple[int, ...]:
    number = ord(character)
    return (number,) if number < 0x10000 else (0xD800 + ((number - 0x10000) >> 10), 0xDC00 + (number & 0x3FF))


def _has_color(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_encode = msgspec.json.Encoder().encode
