"""Warns who blocks an event loop."""

from __future__ import annotations

import inspect
import warnings

from posthorse.store.patience import is_in_loop

_OWN = f"{__name__.partition('.')[0]}."


def warn_in_loop() -> None:
    """To be asked by what waits for a commit without awaiting it."""
    if not is_in_loop():
        return
    warnings.warn(
        "enqueue() inside a running event loop blocks it until the commit; use `await ….aenqueue()`",
        RuntimeWarning,
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """How far above `warnings.warn` the first line stands that is not ours: the warning is about that one."""
    depth, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OWN):
        depth, frame = depth + 1, frame.f_back
    return depth
