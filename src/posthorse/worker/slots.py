"""The slots: as many jobs at once as the runner may run, fed from a backlog of claimed ones.

A slot is a task that runs one job after the other, so that a job that never waits costs no task of its own. It
ends, and a fresh one takes its place, when there is no more to run, when a job left something behind in its
context, and when a job was cancelled: a cancellation that came too late must not meet the next job.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Sequence

from posthorse.clock import monotonic
from posthorse.rules.lifecycle import Outcome
from posthorse.store.operations.claim import Claimed
from posthorse.worker.failpoints import failpoint
from posthorse.worker.running import Running

log = logging.getLogger("posthorse.worker")

LONGEST_TURN = 0.005
"""Seconds after which a slot lets the loop breathe, however quick its jobs are."""


class Slots:
    """Runs what is claimed."""

    def __init__(
        self,
        concurrency: int,
        *,
        prepare: Callable[[Claimed], Running],
        ended: Callable[[Running, Outcome], None],
        freed: Callable[[], None],
    ) -> None:
        self.running: dict[str, Running] = {}
        self.spoilt = 0
        """How many slots are taken by code that goes on after its job was given up."""
        self.backlog: deque[Claimed] = deque()
        self._concurrency = concurrency
        self._prepare = prepare
        self._ended = ended
        self._freed = freed
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    @property
    def load(self) -> int:
        """How many jobs are here, begun or not."""
        return len(self.running) + len(self.backlog)

    def add(self, claimed: Sequence[Claimed]) -> None:
        """Takes claimed jobs and begins as many as may run at once."""
        self.backlog.extend(claimed)
        self._fill()

    def close(self) -> list[tuple[str, int]]:
        """Begins nothing more; answers with what was not begun (job, epoch)."""
        self._is_open = False
        return self.empty_backlog()

    def empty_backlog(self) -> list[tuple[str, int]]:
        """Takes out what was not begun (job, epoch)."""
        unbegun = [(claimed.job, claimed.epoch) for claimed in self.backlog]
        self.backlog.clear()
        return unbegun

    def abandon(self, running: Running, outcome: Outcome) -> None:
        """Lets a job that cannot be ended count as ended."""
        if self.release(running):
            self._ended(running, outcome)

    def release(self, running: Running) -> bool:
        """Gives a job up: its slot stays taken until its code is through. False when it ended by itself before."""
        if self.running.get(running.claimed.job) is not running:
            return False
        del self.running[running.claimed.job]
        self.spoilt += 1
        return True

    def _fill(self) -> None:
        wanted = min(self._concurrency - len(self._tasks), len(self.backlog))
        for _ in range(wanted):
            task = asyncio.get_running_loop().create_task(self._slot())
            self._tasks.add(task)
            task.add_done_callback(self._slot_ended)

    def _slot_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        if self.backlog and self._is_open:
            self._fill()

    def _supersede(self, job: str) -> None:
        """A job that was taken away may come back while its code goes on here: that run counts for nothing any more."""
        earlier = self.running.get(job)
        if earlier is not None:
            log.warning("job %s came back to where its code still goes on; that run counts for nothing any more", job)
            self.release(earlier)
            earlier.lose()

    async def _slot(self) -> None:
        at_start = contextvars.copy_context()
        turn_ends = monotonic() + LONGEST_TURN
        while self.backlog and self._is_open:
            running = self._prepare(self.backlog.popleft())
            self._supersede(running.claimed.job)
            self.running[running.claimed.job] = running
            failpoint("before_start")
            outcome = await running.place.run(running)
            if self.running.get(running.claimed.job) is running:
                del self.running[running.claimed.job]
                self._ended(running, outcome)
            else:
                log.warning("job %s ended after it was given up; how it ended was dropped", running.claimed.job)
                self.spoilt -= 1
                self._freed()
            if running.stop.request is not None or contextvars.copy_context() != at_start:
                return
            if monotonic() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = monotonic() + LONGEST_TURN
