"""A thread that its owner starts when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class ThreadOnDemand:
    """One thread at a time, for an owner that holds `guard` while it calls `start`, `forget` and `is_there`.

    Ctrl-C may interrupt the start: then the owner has no thread, and a thread that was made all the same ends at once.
    """

    def __init__(self, guard: AbstractContextManager[object], name: str) -> None:
        self._guard = guard
        self._name = name
        self._thread: threading.Thread | None = None

    @property
    def is_there(self) -> bool:
        """Whether the thread was started, and not forgotten since."""
        return self._thread is not None

    @property
    def is_current(self) -> bool:
        """Whether the caller is that thread."""
        return self._thread is threading.current_thread()

    def start(self, work: Callable[[], object]) -> None:
        """Start the thread, unless it is there. Raises RuntimeError if the system has no thread to give."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
            thread.start()
            self._thread = thread

    def forget(self) -> threading.Thread | None:
        """Return the thread, which the owner may join without the guard; the next `start` makes another."""
        thread, self._thread = self._thread, None
        return thread

    def _run(self, work: Callable[[], object]) -> None:
        with self._guard:  # it waits here until `start` is over
            is_known = self.is_current
        if is_known:
            work()
