"""Ended jobs: the queue behind the slots. It also carries news that may make room for other jobs.

The slots and the completer put things in and do not know who takes them. However much arrives in one turn of the event
loop, the queue calls its reader once, in the next turn.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence

from posthorse.rules.outcomes import Outcome
from posthorse.worker.running.running_job import RunningJob


class EndedJobs:
    """The queue of one job loop. Must be made inside a running event loop."""

    def __init__(self) -> None:
        self.jobs: list[tuple[RunningJob, Outcome]] = []
        """Jobs that ended since the last `take`."""
        self.has_left_gates = False
        """True when jobs have left gates since the reader last looked: other jobs may pass now."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        """The context in which the reader runs, instead of the context of the job whose end woke it."""
        self._read: Callable[[], None] | None = None
        self._is_called = False

    def call(self, read: Callable[[], None]) -> None:
        """Set the reader, which takes what is in the queue."""
        self._read = read

    def put(self, running: RunningJob, outcome: Outcome) -> None:
        """Add a job that ended."""
        self.jobs.append((running, outcome))
        if not self._is_called:
            self.wake()

    def leave_gates(self) -> None:
        """Note that jobs left gates."""
        self.has_left_gates = True
        self.wake()

    def wake(self) -> None:
        """Have the reader look: a slot is free again, or results were written."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._call, context=self._context)

    def take(self) -> Sequence[tuple[RunningJob, Outcome]]:
        """Take out all jobs."""
        taken, self.jobs = self.jobs, []
        return taken

    def _call(self) -> None:
        self._is_called = False
        if self._read is not None:
            self._read()
