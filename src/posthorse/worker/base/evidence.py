"""Evidence: an exception as it is stored. It works for exceptions and items that cannot be printed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import CodeType, TracebackType

from posthorse.rules.job import MAX_TRACEBACK, JobError
from posthorse.rules.steering import cause_of
from posthorse.rules.values.texts import full_name_of, message_of, storable

MAX_PLACES = 1_000
"""Places in code whose lines of a traceback are kept."""

_places: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""Lines of a traceback, by the code and where it stood in it. The code is held, so that no other gets its number."""


def evidence_of(
    error: BaseException, trace: TracebackType | None, *, longest_traceback: int = MAX_TRACEBACK
) -> JobError:
    """An exception with its traceback from `trace` on; of a group with one error in it, that error is named.

    Whatever printing it does, raising SystemExit included, is part of the evidence and goes no further.
    """
    named = cause_of(error)
    try:
        told = _printed(error, trace)
    except BaseException:
        told = "".join(traceback.format_tb(trace)) + "<the error itself cannot be shown>"
    return JobError(
        type=full_name_of(type(named)), message=message_of(named), traceback=storable(told, longest_traceback)
    )


def _printed(error: BaseException, trace: TracebackType | None) -> str:
    """As `traceback.format_exception` prints it, which looks into the source for each error anew.

    Where thousands of jobs fail, they fail at the same place: its lines are kept.
    """
    steps = list(_steps(trace))
    has_repeats = len({id(step.tb_frame.f_code) for step in steps}) < len(steps)
    is_linked = error.__cause__ is not None or error.__context__ is not None
    if not steps or has_repeats or is_linked or hasattr(error, "exceptions"):  # a group prints its parts
        return "".join(traceback.format_exception(type(error), error, trace))
    itself = traceback.TracebackException(type(error), error, trace, limit=0, compact=True)
    lines = map(_lines_of, steps)
    return "".join(("Traceback (most recent call last):\n", *lines, *itself.format_exception_only()))


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
