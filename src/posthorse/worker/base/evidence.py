"""Evidence: an exception in the form in which it is stored, even if it or an item in it cannot be printed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import cast

from posthorse.rules.job import MAX_TRACEBACK, JobError
from posthorse.rules.steering import only_error_of
from posthorse.rules.values.texts import full_name_of, message_of, storable

MAX_PLACES = 1_000
"""How many places in code keep their printed lines of a traceback."""

_TELLING_MORE = (SyntaxError, NameError, AttributeError, ImportError)
"""Errors that `traceback` prints with more than their message: the place in a source, or a suggestion."""

_places: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""Printed lines of a traceback, by code object and instruction. The code object is kept, so its id is not reused."""


def evidence_of(
    error: BaseException, trace: TracebackType | None, *, longest_traceback: int = MAX_TRACEBACK
) -> JobError:
    """Return an exception with its traceback from `trace` on. A group that contains one error gets that error's name.

    Whatever goes wrong while it is printed, even SystemExit, becomes part of the evidence and goes no further.
    """
    named = only_error_of(error)
    try:
        told = _printed(error, trace)
    except BaseException:
        told = "".join(traceback.format_tb(trace)) + "<the error itself cannot be shown>"
    if longest_traceback < MAX_TRACEBACK:
        told = storable(told, longest_traceback)
    return JobError(type=full_name_of(type(named)), message=message_of(named), traceback=told)


def _printed(error: BaseException, trace: TracebackType | None) -> str:
    """Print it as `traceback.format_exception` does, but keep the lines of each place for the next error.

    `format_exception` reads the source for every error, and where thousands of jobs fail, they fail at the same place.
    """
    steps = list(_steps(trace))
    has_repeats = len({id(step.tb_frame.f_code) for step in steps}) < len(steps)
    is_linked = error.__cause__ is not None or error.__context__ is not None
    if not steps or has_repeats or is_linked or hasattr(error, "exceptions"):  # a group prints its parts, too
        return "".join(traceback.format_exception(type(error), error, trace))
    last = _last_line(error)
    if last is None:
        itself = traceback.TracebackException(type(error), error, trace, limit=0, compact=True)
        last = "".join(itself.format_exception_only())
    return "".join(("Traceback (most recent call last):\n", *map(_lines_of, steps), last))


def _last_line(error: BaseException) -> str | None:
    """Return the last line if it consists of type and message, as usual; None if only `traceback` can print it."""
    kind = type(error)
    if type(kind) is not type or isinstance(error, _TELLING_MORE) or hasattr(error, "__notes__"):
        return None
    module = cast("object", kind.__module__)
    name = kind.__qualname__
    try:
        message = str(error)
    except BaseException:
        return None
    if not isinstance(module, str):  # a class may set it to anything
        return None
    if module not in ("builtins", "__main__"):
        name = f"{module}.{name}"
    return f"{name}: {message}\n" if message else f"{name}\n"


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _lines_of(step: TracebackType) -> str:
    code = step.tb_frame.f_code
    place = id(code), step.tb_lasti
    known = _places.get(place)
    if known is None:
        if len(_places) >= MAX_PLACES:
            _places.clear()
        alone = TracebackType(None, step.tb_frame, step.tb_lasti, step.tb_lineno)
        known = _places[place] = code, "".join(traceback.format_tb(alone))
    return known[1]
