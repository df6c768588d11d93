"""How long a call retries while a store is away, and how the retries are spread in time."""

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
"""A group that lost this many deadlocks in a row has an operation that will not succeed."""

LONG_WAIT = 30.0
"""Seconds that a call waits for a store that is away: most restarts and failovers take less."""

SHORT_WAIT = 5.0
"""Seconds inside a running event loop, because a person usually waits for the request."""

STOPPING_WAIT = 1.0
"""Seconds for the calls of a stopping worker, which tries important ones again until its grace ends."""

STEP = 0.1
"""Seconds after which a waiting call checks whether it should hurry."""


class Patience:
    """How long the calls of one caller wait for a store that is away.

    All of its calls share it, so that a stopping worker shortens those under way as well.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def hurry(self, seconds: float) -> None:
        """Let no call wait longer than this from now on, counted from when the call was made."""
        self.seconds = min(self.seconds, seconds)


class Deadline:
    """When one call stops waiting for a store that is away."""

    __slots__ = ("_began", "_waiting")

    def __init__(self, waiting: Patience) -> None:
        self._began = monotonic()
        self._waiting = waiting

    @property
    def left(self) -> float:
        """The seconds until then."""
        return self._began + self._waiting.seconds - monotonic()


_waiting: ContextVar[Patience | None] = ContextVar("posthorse_waiting", default=None)


def wait_as(waiting: Patience) -> None:
    """Make calls in this context, and in contexts copied from it, wait like this; for workers."""
    _waiting.set(waiting)


def worker_waiting(store_timeout: float | None) -> Patience:
    """Return how the calls of a worker wait: no person waits for them."""
    return Patience(LONG_WAIT if store_timeout is None else store_timeout)


@contextmanager
def waiting_at_most(seconds: float | None) -> Iterator[None]:
    """Give calls inside the block their own deadline, unless it is None."""
    if seconds is None:
        yield
        return
    token = _waiting.set(Patience(seconds))
    try:
        yield
    finally:
        _waiting.reset(token)


def patience_of_caller(store_timeout: float | None) -> Patience:
    """Return how the caller waits: by its context, else by the setting, else by where it runs."""
    told = _waiting.get()
    if told is not None:
        return told
    if store_timeout is not None:
        return Patience(store_timeout)
    return _SHORT if is_in_loop() else _LONG


_LONG, _SHORT = Patience(LONG_WAIT), Patience(SHORT_WAIT)


def is_in_loop() -> bool:
    """Return True if the caller runs in an event loop, which is blocked until the call returns."""
    return _get_running_loop() is not None  # `get_running_loop` would raise, at ten times the cost


class Retries:
    """The retries of one commit or read: pauses while the store is away, and a count of collisions."""

    def __init__(self) -> None:
        self._failures = 0
        self._conflicts = 0
        self._surprises = 0

    def next_pause(self) -> float:
        """Return the random seconds until the next try; longer each time."""
        pause = random.uniform(0.02, min(2.0, 0.1 * 2.0**self._failures))
        self._failures += 1
        return pause

    def takes_another_turn(self) -> bool:
        """Pause a moment after a collision with another transaction; return False after too many."""
        self._conflicts += 1
        if self._conflicts > MAX_CONFLICTS:
            return False
        time.sleep(random.uniform(0, 0.002 * self._conflicts))
        return True

    def looks_once_more(self) -> bool:
        """Count a try whose rows proved to be there already; return False after too many."""
        self._surprises += 1
        return self._surprises <= MAX_CONFLICTS


def pause(seconds: float, left: Callable[[], float] = lambda: math.inf) -> None:
    """Sleep, but not after `left` says that no time is left."""
    until = monotonic() + seconds
    while (rest := min(until - monotonic(), left())) > 0:
        time.sleep(min(rest, STEP))
