"""The request to stop that a running job carries; its checkpoints look at it."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.errors import Interrupted
from posthorse.rules.slice_size import TIMED_OUT

# A stronger request is not weakened by a later one; "lost" means that the job is no longer ours to stop.
_STRENGTH = {"yield": 1, "shutdown": 2, "pause": 3, "cancel": 4, "lost": 5}


class StopSignal:
    """What is asked of one running job: "yield", "shutdown", "pause", "cancel", "lost", or nothing."""

    __slots__ = ("_ends_at", "_timeout", "is_awaited", "obeyed", "request")

    def __init__(self) -> None:
        self.request: str | None = None
        self.obeyed: str | None = None
        """What the job was told to stop for at a checkpoint, if it was: a pause may be taken back after that."""
        self.is_awaited = False
        """True once the code of a plain function is awaited on the loop, where it can be cancelled."""
        self._timeout = 0.0
        self._ends_at: float | None = None

    @property
    def is_due(self) -> bool:
        """True when the job is to stop at its next checkpoint."""
        return self.request is not None or self.is_overdue

    def ask(self, request: str) -> None:
        """Asks the job to stop at its next checkpoint."""
        if self.request is None or _STRENGTH[request] > _STRENGTH[self.request]:
            self.request = request

    def withdraw_pause(self) -> None:
        """A resume came before the pause took effect."""
        if self.request == "pause":
            self.request = None

    def limit(self, timeout: float) -> None:
        """The job may take that many seconds from now; the checkpoint after them fails it."""
        self._timeout = timeout
        self._ends_at = monotonic() + timeout

    def raise_if_asked(self) -> None:
        """Raises Interrupted when the job is to stop, TimeoutError when its time is over."""
        if self.request is not None:
            self.obeyed = self.request
            raise Interrupted(f"the job stops here: {self.request}")
        if self.is_overdue:
            raise self.timed_out()

    def timed_out(self) -> TimeoutError:
        """The error of a job that took longer than it may."""
        return TimeoutError(f"{TIMED_OUT}timeout of {self._timeout:g} s")

    @property
    def seconds_left(self) -> float | None:
        """How long it may still take; None for as long as it likes."""
        return None if self._ends_at is None else max(0.0, self._ends_at - monotonic())

    @property
    def is_overdue(self) -> bool:
        """True when the job took longer than it may."""
        return self._ends_at is not None and monotonic() >= self._ends_at
