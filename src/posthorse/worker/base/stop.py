"""The stop signal of a running job: what was requested of it, for its checkpoints to see."""

from __future__ import annotations

from posthorse.clock import monotonic
from posthorse.errors import Interrupted
from posthorse.rules.slice_size import TIMED_OUT

# A later, weaker request does not replace a stronger one; "lost" means that the job is no longer ours to stop.
_STRENGTH = {"yield": 1, "shutdown": 2, "pause": 3, "cancel": 4, "lost": 5}


class StopSignal:
    """What is requested of one running job: "yield", "shutdown", "pause", "cancel", "lost", or None."""

    __slots__ = ("_ends_at", "_timeout", "is_awaited", "obeyed", "request")

    def __init__(self) -> None:
        self.request: str | None = None
        self.obeyed: str | None = None
        """The request that a checkpoint of the job obeyed, if any: a pause may be withdrawn after that."""
        self.is_awaited = False
        """True once the code of a plain function is awaited on the loop, where it can be cancelled."""
        self._timeout = 0.0
        self._ends_at: float | None = None

    @property
    def is_due(self) -> bool:
        """True when the job should stop at its next checkpoint."""
        return self.request is not None or self.is_overdue

    def ask(self, request: str) -> None:
        """Ask the job to stop at its next checkpoint."""
        if self.request is None or _STRENGTH[request] > _STRENGTH[self.request]:
            self.request = request

    def withdraw_pause(self) -> None:
        """Withdraw a pause, because the job was resumed before it obeyed."""
        if self.request == "pause":
            self.request = None

    def limit(self, timeout: float) -> None:
        """Start the job's timeout, in seconds from now; the first checkpoint after it fails the job."""
        self._timeout = timeout
        self._ends_at = monotonic() + timeout

    def raise_if_asked(self) -> None:
        """Raise Interrupted if the job was asked to stop, TimeoutError if its timeout has passed."""
        if self.request is not None:
            self.obeyed = self.request
            raise Interrupted(f"the job stops here: {self.request}")
        if self.is_overdue:
            raise self.timed_out()

    def timed_out(self) -> TimeoutError:
        """Return the error of a job whose timeout has passed."""
        return TimeoutError(f"{TIMED_OUT}timeout of {self._timeout:g} s")

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the timeout; None without one."""
        return None if self._ends_at is None else max(0.0, self._ends_at - monotonic())

    @property
    def is_overdue(self) -> bool:
        """True when the timeout has passed."""
        return self._ends_at is not None and monotonic() >= self._ends_at
