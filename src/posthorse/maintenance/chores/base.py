"""The interface of a chore. The sweep runs each one when it is due, and knows none of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from posthorse.store.operations.runners import NextDue


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
