"""The interface of a chore, and its throttle. The sweep runs those that are due, and knows none of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from posthorse.clock import monotonic
from posthorse.store.operations.runners import NextDue

REST = 20
"""A turn that took t seconds is followed by another after 20 t, so that a chore takes a small share of the time."""


class Chore(ABC):
    """A periodic task of the process that leads."""

    name: ClassVar[str]
    """What it does, as the continuation of "cannot" in a log line: `forget expired keys`."""
    by_every_process: ClassVar[bool] = False
    """True if processes that do not lead run it, too."""

    @abstractmethod
    def due_in(self, look: NextDue | None) -> float:
        """Return the seconds until it must run; 0 or less means now. `look` is None in a process that does not lead."""

    @abstractmethod
    async def run(self, look: NextDue | None) -> NextDue | None:
        """Do it. Return what is due in the store afterwards: `look` if that did not change."""

    def stand_by(self) -> None:  # noqa: B027  # most need not know
        """React to another process taking the lead."""

    def clock_was_set(self) -> None:  # noqa: B027  # most need not know
        """React to a step of the store's clock."""


class ChorePace:
    """When the turns of a chore follow each other: after its interval, and after a rest in proportion to the last turn.

    A turn that failed counts as one that took no time.
    """

    def __init__(self) -> None:
        self._began_at = self._ended_at = monotonic()

    def due_in(self, interval: float, *, rest: float = REST) -> float:
        """Return the seconds until the next turn. A new throttle lets the first one run after the interval."""
        rested_at = self._ended_at + rest * (self._ended_at - self._began_at)
        return max(self._began_at + interval, rested_at) - monotonic()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Measure a turn."""
        self._began_at = self._ended_at = monotonic()
        yield
        self._ended_at = monotonic()
