"""Evidence: an exception as it is kept. Survives exceptions and items that cannot even be printed."""

from __future__ import annotations

import traceback
from types import TracebackType

from posthorse.rules.job import MAX_TRACEBACK, JobError
from posthorse.rules.steering import cause_of
from posthorse.rules.values.texts import full_name_of, message_of, storable


def evidence_of(
    error: BaseException, trace: TracebackType | None, *, longest_traceback: int = MAX_TRACEBACK
) -> JobError:
    """An exception with its traceback from `trace` on; of a group with one error in it, that error is named.

    Whatever printing it does, raising SystemExit included, is part of the evidence and goes no further.
    """
    named = cause_of(error)
    try:
        told = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:
        told = "".join(traceback.format_tb(trace)) + "<the error itself cannot be shown>"
    return JobError(
        type=full_name_of(type(named)), message=message_of(named), traceback=storable(told, longest_traceback)
    )
