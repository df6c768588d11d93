"""Enforce the time limits of open transactions: one thread watches their deadlines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from posthorse.clock import monotonic
from posthorse.store.thread_on_demand import ThreadOnDemand

IDLE_SECONDS = 5.0


class Deadlines:
    """Calls back if a block takes too long. One thread watches all blocks; without blocks there is none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[int, tuple[float, Callable[[], None]]] = {}
        self._last = 0
        self._thread = ThreadOnDemand(self._changed, "posthorse-deadlines")

    @contextmanager
    def limit(self, seconds: float, overdue: Callable[[], None]) -> Iterator[None]:
        """Call `overdue`, from another thread, if the block takes more than that many seconds."""
        with self._changed:
            self._last += 1
            number = self._last
            is_first = not self._pending
            self._pending[number] = (monotonic() + seconds, overdue)
            if not self._thread.is_there:
                self._thread.start(self._watch)
            elif is_first:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._pending.pop(number, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                late = [number for number, (when, _) in self._pending.items() if when <= now]
                for number in late:
                    self._pending.pop(number)[1]()
                nearest = min((when for when, _ in self._pending.values()), default=now + IDLE_SECONDS)
                was_told = self._changed.wait(max(0.0, nearest - now))
                if not was_told and not self._pending:
                    self._thread.forget()  # nothing to watch for a while; the next block starts another
                    return
