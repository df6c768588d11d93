"""Requests to stop: Ctrl-C, SIGTERM, or the end of the time. A second signal makes them urgent."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from posthorse.worker.base.process_signals import note, only_here


class Stop:
    """Whether this process must stop, and how urgently."""

    def __init__(self, ends_at: float | None) -> None:
        self._ends_at = ends_at
        self._news = threading.Event()
        self._signals = 0

    @property
    def is_asked(self) -> bool:
        """Whether it must stop, for any reason."""
        return self._signals > 0 or self.is_timed_out

    @property
    def is_timed_out(self) -> bool:
        """Whether the time is over, and no signal came before."""
        return not self._signals and self._ends_at is not None and time.monotonic() >= self._ends_at

    @property
    def is_urgent(self) -> bool:
        """Whether two signals came."""
        return self._signals > 1

    def wait(self, seconds: float) -> None:
        """Wait at most so long, or until there is a reason to stop."""
        if self._ends_at is not None:
            seconds = min(seconds, max(0.0, self._ends_at - time.monotonic()))
        self._news.wait(seconds)

    def wait_until_asked(self) -> None:
        """Wait for a reason to stop, however long that takes."""
        while not self.is_asked:
            self.wait(threading.TIMEOUT_MAX)

    def ask(self) -> None:
        """Record a signal."""
        self._signals += 1
        self._news.set()


@contextmanager
def stopped_by_signals(ends_at: float | None) -> Iterator[Stop]:
    """Turn signals within the block into requests to stop. `ends_at` is in monotonic seconds."""
    stop = Stop(ends_at)

    def hear(number: int, frame: FrameType | None) -> None:
        note(number, frame)
        stop.ask()

    before = {number: signal.signal(number, only_here(hear)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
