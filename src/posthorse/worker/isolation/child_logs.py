"""The recorder in a child process: sends what a job logs to the runner, which bounds and stores it.

The first lines are sent one by one, so that those before a crash arrive. Of a job that logs very many, lines wait for a
moment and are sent together.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from posthorse.clock import monotonic
from posthorse.rules.job_logs import HEAD_LINES
from posthorse.worker.base.log_capture import OFF, JobInContext
from posthorse.worker.isolation.messages import Logged

PAUSE = 0.1
"""Seconds that later lines may wait."""

MAX_WAITING = 50
"""Lines that wait; more are sent at once."""


class ChildLogs:
    """The recorder of one child, for one job after the other. `send` passes a message to the runner."""

    def __init__(self, send: Callable[[Logged], None]) -> None:
        self._send = send
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._job: tuple[str, int] | None = None
        self._level = OFF
        self._keeps_prints = False
        self._tenant: str | None = None
        self._sent = 0
        self._sent_at = 0.0
        self._waiting: list[bytes] = []
        self._has_some = threading.Event()
        self._sender: threading.Thread | None = None

    def begin(self, job: str, epoch: int, level: int, *, tenant: str | None = None, keeps_prints: bool = False) -> None:
        """Record the lines of a job from now on."""
        with self._lock:
            self._keeps_prints = keeps_prints
            self._job, self._level, self._sent, self._tenant = (job, epoch), level, 0, tenant

    def end(self) -> None:
        """Send what waits, and take nothing more of this job."""
        with self._lock:
            self._flush()
            self._job, self._level = None, OFF

    def level_of(self, job: JobInContext) -> int:
        """Return the level from which lines of a job are recorded; OFF for a job that has ended."""
        return self._level if self._job == (job[0], job[3]) else OFF

    def keeps_prints_of(self, job: JobInContext) -> bool:
        """Return whether what the job prints is kept, too."""
        return self._keeps_prints and self._job == (job[0], job[3])

    def tenant_of(self, job: JobInContext) -> str | None:
        """Return the tenant of the job that runs."""
        return self._tenant if self._job == (job[0], job[3]) else None

    def take(self, job: JobInContext, line: bytes) -> None:
        """Take a line of the job that runs."""
        if os.getpid() != self._process:
            return  # a process that the job forked: two cannot write into one channel
        with self._lock:
            if self._job != (job[0], job[3]):
                return
            self._waiting.append(line)
            self._sent += 1
            if self._sent <= HEAD_LINES or len(self._waiting) >= MAX_WAITING or monotonic() >= self._sent_at + PAUSE:
                self._flush()
                return
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_later, name="posthorse-logs", daemon=True)
                self._sender.start()
            self._has_some.set()

    def _send_later(self) -> None:
        while self._has_some.wait():
            self._has_some.clear()
            threading.Event().wait(PAUSE)
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        if self._waiting and self._job is not None:
            emptied: list[bytes] = []  # made first: what the garbage collector runs meanwhile may log, too
            lines, self._waiting = self._waiting, emptied
            self._sent_at = monotonic()
            self._send(Logged(*self._job, lines))
