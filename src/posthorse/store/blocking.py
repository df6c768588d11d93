"""Calls that block a running event loop: one rule for all that have an awaited twin.

A call that waits only for the store works, and warns. A call that waits for jobs is refused, because they may need this
very loop. Inside a transaction on a blocking connection no call warns: the twin would block the loop as well, as the
user's own statements do.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING

from posthorse.errors import InvalidCall
from posthorse.store.patience import is_in_loop

if TYPE_CHECKING:
    from posthorse.store.store import Store

_NOT_THE_CALLER = (f"{__name__.partition('.')[0]}.", "contextlib")


def warn_in_loop(store: Store, call: str, instead: str) -> None:
    """Warn the caller of a call that waits for the store without awaiting it."""
    if not is_in_loop() or store.is_in_transaction:
        return
    warnings.warn(
        f"{call} inside a running event loop blocks it until the store has replied; {instead}",
        RuntimeWarning,
        stacklevel=_depth_of_caller(),
    )


def refuse_in_loop(call: str, instead: str) -> None:
    """Refuse a call that waits for jobs without awaiting them. Raises InvalidCall."""
    if is_in_loop():
        raise InvalidCall(
            f"{call} waits for jobs and would block the running event loop, which they may need; {instead}"
        )


def _depth_of_caller() -> int:
    """Count the frames up to the caller's line, because the warning should point to it."""
    depth, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_NOT_THE_CALLER):
        depth, frame = depth + 1, frame.f_back
    return depth
