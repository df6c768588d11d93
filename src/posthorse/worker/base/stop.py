"""The stop signal of a running job: what was requested of it, for its checkpoints to see."""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

from posthorse.clock import monotonic
from posthorse.errors import Interrupted
from posthorse.rules.outcomes import Outcome, Stopped
from posthorse.rules.slice_size import TIMED_OUT

# A later, weaker request does not replace a stronger one; "lost" means that the job is no longer ours to stop.
_STRENGTH = {"yield": 1, "window": 2, "shutdown": 3, "pause": 4, "cancel": 5, "lost": 6}

_WITHDRAWABLE = ("pause", "window")


_LOOK_INTERVAL = 0.1
"""Seconds between two looks of a job that waits in a thread, which nothing can wake."""


class StopSignal:
    """What is requested of one running job: "yield", "window", "shutdown", "pause", "cancel", "lost", or None."""

    __slots__ = ("_ends_at", "_timeout", "is_awaited", "obeyed", "outcome", "reason", "request")

    def __init__(self) -> None:
        self.request: str | None = None
        self.reason: str | None = None
        """Why, if the request alone does not say it."""
        self.obeyed: str | None = None
        """The request that a checkpoint of the job obeyed, if any: a pause may be withdrawn after that."""
        self.outcome: Outcome | None = None
        """What the job asked for itself, if it set itself aside."""
        self.is_awaited = False
        """True once the code of a plain function is awaited on the loop, where it can be cancelled."""
        self._timeout = 0.0
        self._ends_at: float | None = None

    @property
    def is_due(self) -> bool:
        """True when the job should stop at its next checkpoint."""
        return self.request is not None or self.is_overdue

    def ask(self, request: str, reason: str | None = None) -> None:
        """Ask the job to stop at its next checkpoint."""
        if self.request is None or _STRENGTH[request] > _STRENGTH[self.request]:
            self.request, self.reason = request, reason

    def withdraw(self) -> None:
        """Withdraw a pause if the job was resumed before it obeyed, or a window that opened again."""
        if self.request in _WITHDRAWABLE:
            self.request = self.reason = None

    def stopped(self) -> Stopped:
        """Return the outcome of a job that stopped as requested."""
        assert self.request is not None, "nothing was requested"
        return Stopped(self.request, self.reason)

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

    def set_aside(self, outcome: Outcome, why: str) -> NoReturn:
        """End this attempt by the job's own wish. Raises Interrupted, which `except Exception` does not catch."""
        self.outcome = outcome
        raise Interrupted(why)

    def wait(self, seconds: float) -> None:
        """Let a job wait in its thread, unless it is asked to stop. Raises Interrupted, TimeoutError."""
        ends_at = monotonic() + seconds
        self.raise_if_asked()
        while (left := ends_at - monotonic()) > 0:
            time.sleep(min(left, _LOOK_INTERVAL))
            self.raise_if_asked()

    async def await_(self, seconds: float) -> None:
        """Do the same as `wait`, in a coroutine."""
        ends_at = monotonic() + seconds
        self.raise_if_asked()
        while (left := ends_at - monotonic()) > 0:
            await asyncio.sleep(min(left, _LOOK_INTERVAL))
            self.raise_if_asked()

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
