"""Evidence: an exception as it is kept. Survives exceptions and items that cannot even be printed."""

from __future__ import annotations

import traceback
from types import TracebackType

from posthorse.rules.job import JobError

LONGEST_MESSAGE = 4_000
LONGEST_TRACEBACK = 16_000


def evidence_of(
    error: BaseException, trace: TracebackType | None, *, longest_traceback: int = LONGEST_TRACEBACK
) -> JobError:
    """An exception with its traceback from `trace` on."""
    try:
        message = str(error)
    except Exception as broken:
        message = f"<its message cannot be shown: {type(broken).__name__}>"
    try:
        told = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        told = "<its traceback cannot be shown>"
    name = type(error).__qualname__
    module = type(error).__module__
    return JobError(
        type=name if module == "builtins" else f"{module}.{name}",
        message=storable(message, LONGEST_MESSAGE),
        traceback=storable(told, longest_traceback),
    )


def storable(text: str, longest: int) -> str:
    """Text that any store takes: no NUL, no lone surrogates, the end kept when it is long."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\\0")
    return clean if len(clean) <= longest else "…" + clean[-longest:]
