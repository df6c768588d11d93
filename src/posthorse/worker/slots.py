"""The slots: as many jobs at once as the runner may run, fed from a backlog of claimed ones.

A slot is a task that runs one job after the other, so that a job that never waits costs no task of its own. It
ends, and a fresh one takes its place, when there is no more to run, when a job left something behind in its
context, and when a job was cancelled: a cancellation that came too late must not meet the next job.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from posthorse.rules.job import Lane, Options
from posthorse.rules.lifecycle import Outcome
from posthorse.rules.registry import Registered
from posthorse.store.operations.claim import Claimed
from posthorse.worker.execution import run
from posthorse.worker.failpoints import failpoint
from posthorse.worker.journal import Journal
from posthorse.worker.stop import StopSignal

LONGEST_TURN = 0.005
"""Seconds after which a slot lets the loop breathe, however quick its jobs are."""


class Running:
    """A job that has begun."""

    __slots__ = ("began", "claimed", "journal", "kind", "lane", "options", "stop", "task", "unfit")

    def __init__(self, claimed: Claimed, lane: Lane, kind: Registered, task: asyncio.Task[None] | None) -> None:
        self.claimed = claimed
        self.lane = lane
        self.kind = kind
        self.task = task
        self.began = time.monotonic()
        self.unfit: str | None = None
        """Why this version of Posthorse cannot run the job, if it cannot."""
        try:
            self.options = Options.decode(claimed.options)
        except msgspec.MsgspecError as error:
            self.options = Options()
            self.unfit = f"its stored options cannot be read: {error}"
        self.stop = StopSignal()
        self.journal: Journal | None = None

    @property
    def timeout(self) -> float | None:
        """Seconds that the job may take."""
        return self.options.timeout or self.kind.options.timeout

    def interrupt(self, request: str) -> None:
        """Asks the job to stop; an async one is cancelled where it waits."""
        self.stop.ask(request)
        if self.kind.is_async and self.task is not None:
            self.task.cancel()


class Slots:
    """Runs what is claimed."""

    def __init__(
        self,
        concurrency: int,
        *,
        prepare: Callable[[Claimed, asyncio.Task[None] | None], Running],
        ended: Callable[[Running, Outcome], None],
    ) -> None:
        self.running: dict[str, Running] = {}
        self.backlog: deque[Claimed] = deque()
        self._concurrency = concurrency
        self._prepare = prepare
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="posthorse-job")
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

    def shut_down(self) -> None:
        """Lets threads end with their jobs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

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

    async def _slot(self) -> None:
        task = asyncio.current_task()
        at_start = contextvars.copy_context()
        turn_ends = time.monotonic() + LONGEST_TURN
        while self.backlog and self._is_open:
            running = self._prepare(self.backlog.popleft(), task)
            self.running[running.claimed.job] = running
            failpoint("before_start")
            outcome = await run(running, self._threads)
            del self.running[running.claimed.job]
            self._ended(running, outcome)
            if running.stop.request is not None or contextvars.copy_context() != at_start:
                return
            if time.monotonic() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + LONGEST_TURN
