"""How long a store that is away is asked again, and how the askers are kept from arriving all at once."""

from __future__ import annotations

import math
import random
import time
from asyncio.events import _get_running_loop  # pyright: ignore[reportPrivateUsage]  # the other one raises
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from posthorse.clock import monotonic

MAX_CONFLICTS = 10
"""A group that lost this many deadlocks in a row has an operation that will not fit."""

LONG_WAIT = 30.0
"""Seconds that a call waits for a store that is away: most restarts and failovers are over by then."""

SHORT_WAIT = 5.0
"""The same inside a running event loop: what waits there is mostly a request, and behind it a person."""

STOPPING_WAIT = 1.0
"""The same for the calls of a worker that was told to stop: what matters is tried again until its grace is over."""

STEP = 0.1
"""Seconds after which a waiting call looks whether it was told to hurry."""


class Waiting:
    """How long the calls of one caller wait for a store that is away.

    Shared by all of its calls, so that a worker that is told to stop shortens those under way as well.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def hurry(self, seconds: float) -> None:
        """From now on no call waits longer than this, counted from when it was made."""
        self.seconds = min(self.seconds, seconds)


class Deadline:
    """When one call stops waiting for a store that is away."""

    __slots__ = ("_began", "_waiting")

    def __init__(self, waiting: Waiting) -> None:
        self._began = monotonic()
        self._waiting = waiting

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self._began + self._waiting.seconds - monotonic()


_waiting: ContextVar[Waiting | None] = ContextVar("posthorse_waiting", default=None)


def wait_as(waiting: Waiting) -> None:
    """From here on, calls in this context and in those that grow out of it wait as said there: for workers."""
    _waiting.set(waiting)


def worker_waiting(store_timeout: float | None) -> Waiting:
    """How the calls of a worker wait: no person stands behind them."""
    return Waiting(LONG_WAIT if store_timeout is None else store_timeout)


@contextmanager
def waiting_at_most(seconds: float | None) -> Iterator[None]:
    """Calls inside the block have a deadline of their own, unless it is None."""
    if seconds is None:
        yield
        return
    token = _waiting.set(Waiting(seconds))
    try:
        yield
    finally:
        _waiting.reset(token)


def waiting_of_caller(store_timeout: float | None) -> Waiting:
    """How the caller waits: as its context says, as the setting says, or else as fits where it runs."""
    told = _waiting.get()
    if told is not None:
        return told
    if store_timeout is not None:
        return Waiting(store_timeout)
    return _SHORT if is_in_loop() else _LONG


_LONG, _SHORT = Waiting(LONG_WAIT), Waiting(SHORT_WAIT)


def is_in_loop() -> bool:
    """True when the caller runs in an event loop, which stands still as long as the call does not return."""
    return _get_running_loop() is not None  # `get_running_loop` would raise, at ten times the cost


class Patience:
    """The patience of one commit or read: pauses for what went away, a count for what collides."""

    def __init__(self) -> None:
        self._failures = 0
        self._conflicts = 0
        self._surprises = 0

    def next_pause(self) -> float:
        """Seconds until a store that is away is asked again: longer each time, and by chance."""
        pause = random.uniform(0.02, min(2.0, 0.1 * 2.0**self._failures))
        self._failures += 1
        return pause

    def takes_another_turn(self) -> bool:
        """Pauses a moment after a collision with another session; false when there were too many."""
        self._conflicts += 1
        if self._conflicts > MAX_CONFLICTS:
            return False
        time.sleep(random.uniform(0, 0.002 * self._conflicts))
        return True

    def looks_once_more(self) -> bool:
        """After what was to be written proved to be there; false when that came too often."""
        self._surprises += 1
        return self._surprises <= MAX_CONFLICTS


def pause(seconds: float, left: Callable[[], float] = lambda: math.inf) -> None:
    """Sleeps, and no longer than until `left` says that nothing is left."""
    until = monotonic() + seconds
    while (rest := min(until - monotonic(), left())) > 0:
        time.sleep(min(rest, STEP))
