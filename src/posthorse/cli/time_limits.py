"""Look at things that may hang: each in a thread of its own, with a limit for each and for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from posthorse.errors import TookTooLong
from posthorse.store.base import Operation
from posthorse.store.store import Store

T = TypeVar("T")

SHARE = 3
"""One look may take this part of the time for all of them, unless the caller says otherwise."""


IN_STORE = 0.9
"""A look at many jobs has this part of its time, so that the store ends it before its thread is given up."""


class NoReply(Exception):
    """A look did not return in time; `name` is the check that it was for."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        super().__init__(f"{name} took longer than {seconds:.1f} s")


class Looks:
    """Run looks with a time limit for each and for all."""

    def __init__(self, seconds: float, *, each: float | None = None) -> None:
        self.each = seconds / SHARE if each is None else each
        self.is_stuck = False
        """Whether a look did not return: its thread may hold locks, so what it uses cannot be closed."""
        self._ends_at = time.monotonic() + seconds

    def at(self, name: str, look: Callable[[], T]) -> T:
        """Return the result of a look. Raises NoReply, and what the look raises."""
        seconds = self._seconds
        found: list[T] = []
        errors: list[BaseException] = []

        def take_a_look() -> None:
            try:
                found.append(look())
            except BaseException as error:
                errors.append(error)

        # A daemon thread, so that the process can end although it hangs.
        thread = threading.Thread(target=take_a_look, name=f"posthorse-look-{name}", daemon=True)
        thread.start()
        thread.join(seconds)
        if errors:
            raise errors[0]
        if not found:
            self.is_stuck = True
            raise NoReply(name, seconds)
        return found[0]

    def over(self, name: str, store: Store, operation: Operation[T]) -> T:
        """Return what an operation finds that reads many rows. Raises NoReply, StoreError."""
        seconds = self._seconds
        try:
            return self.at(name, lambda: store.look(operation, deadline=seconds * IN_STORE))
        except TookTooLong as error:
            raise NoReply(name, seconds) from error

    @property
    def _seconds(self) -> float:
        return max(0.0, min(self.each, self._ends_at - time.monotonic()))
