"""What a chore is. The sweep asks each one when it is due, and runs it then; it knows none of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from posthorse.store.operations.runners import NextDue


class Chore(ABC):
    """Something to do again and again, by the process that leads."""

    name: ClassVar[str]
    """What it does, as it follows "cannot" in a log line: `forget expired keys`."""
    by_every_process: ClassVar[bool] = False
    """True if processes that do not lead run it, too."""

    @abstractmethod
    def due_in(self, look: NextDue | None) -> float:
        """Return the seconds until it must run; 0 or less means now. `look` is None in a process that does not lead."""

    @abstractmethod
    async def run(self, look: NextDue | None) -> NextDue | None:
        """Do it. Return what is due in the store afterwards: `look` if that did not change."""

    def stand_by(self) -> None:  # noqa: B027  # most need not know
        """Hear that another process leads."""

    def clock_was_set(self) -> None:  # noqa: B027  # most need not know
        """Hear that the store's clock made a step."""
