"""Reads that follow a change which is stored. If one fails, the change stays, so the answer may not say that nothing
was done: a client that believed it would ask again, and the change would be made twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from posthorse.errors import OutcomeUnknown, PosthorseError, StoreError

T = TypeVar("T")

log = logging.getLogger("posthorse.web")


async def read_after(reading: Awaitable[T]) -> T | None:
    """Return what a read returns; None if it fails, or what it reads was removed since."""
    try:
        return await reading
    except PosthorseError as error:
        log.warning("a change is stored, and could not be read after it: %s", error)
        return None


@contextmanager
def outcome_unknown_if_unread() -> Iterator[None]:
    """Let a failing read say that it is unknown what happened; for reads that an answer cannot do without."""
    try:
        yield
    except StoreError as error:
        raise OutcomeUnknown(str(error)) from error
