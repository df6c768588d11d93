"""The request to stop that a running job carries; its checkpoints look at it."""

from __future__ import annotations

from posthorse.errors import Interrupted

# A stronger request is not weakened by a later one; "lost" means that the job is no longer ours to stop.
_STRENGTH = {"yield": 1, "shutdown": 2, "pause": 3, "cancel": 4, "lost": 5}


class StopSignal:
    """What is asked of one running job: "yield", "shutdown", "pause", "cancel", "lost", or nothing."""

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request: str | None = None

    def ask(self, request: str) -> None:
        """Asks the job to stop at its next checkpoint."""
        if self.request is None or _STRENGTH[request] > _STRENGTH[self.request]:
            self.request = request

    def withdraw_pause(self) -> None:
        """A resume came before the pause took effect."""
        if self.request == "pause":
            self.request = None

    def raise_if_asked(self) -> None:
        """Raises Interrupted when the job is to stop."""
        if self.request is not None:
            raise Interrupted(f"the job stops here: {self.request}")
