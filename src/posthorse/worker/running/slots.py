"""The slots: run as many jobs at once as the runner may, from a backlog of claimed ones.

A job on the loop has its own asyncio task and context, so what it leaves behind (a late cancellation, context
variables, anything keyed by the task) never reaches another job. Jobs in threads and processes never see the task that
waits for them, so one task can wait for one after the other. Whatever a job does, its slot ends with an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections import deque
from collections.abc import Sequence

from posthorse.clock import monotonic
from posthorse.failpoints import failpoint
from posthorse.rules.emitter import Emitter
from posthorse.rules.outcomes import Outcome, Raised
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.operations.runners import Runner
from posthorse.worker.base import printing
from posthorse.worker.base.evidence import evidence_of
from posthorse.worker.base.log_capture import CAPTURING, RECORDER, capture
from posthorse.worker.claiming.claim_values import ClaimedJob
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.executors import Executors
from posthorse.worker.running.job_logs import JobLogs
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

BEGINS_EAGERLY = sys.version_info >= (3, 12)
"""Whether a job runs at once until it first waits, so that one that never waits costs no turn of the loop."""


class Slots:
    """The slots of one runner, and its backlog."""

    def __init__(
        self,
        runner: Runner,
        executors: Executors,
        ended: EndedJobs,
        emitter: Emitter,
        tuning: Tuning = DEFAULTS,
        logs: JobLogs | None = None,
    ) -> None:
        self.running: dict[str, RunningJob] = {}
        self.spoilt = 0
        """How many slots are taken by code that still runs although its job was given up."""
        self.backlog: deque[ClaimedJob] = deque()
        self._runner = runner
        self._executors = executors
        self._ended = ended
        self._emitter = emitter
        self._start_time = tuning.start_time
        self._taken: set[RunningJob] = set()
        """The jobs in the slots, each with its task; none while it runs up to its first wait."""
        self._tells_all = False
        """True if the start of each job is logged; checked once for each claim, because there may be very many jobs."""
        self._is_open = True
        self._is_filling = False
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        """The context that each job gets a copy of; no job changes it."""
        if logs is not None:
            logs.running = self.running
            self._context.run(RECORDER.set, logs)

    @property
    def load(self) -> int:
        """How many jobs the slots hold, started or not."""
        return len(self.running) + len(self.backlog)

    def add(self, claimed: Sequence[ClaimedJob]) -> None:
        """Take claimed jobs, and start as many as may run at once."""
        self._tells_all = log.isEnabledFor(logging.DEBUG)
        if CAPTURING not in logging.root.handlers:
            capture()
        self.backlog.extend(claimed)
        self._fill()

    def close(self) -> list[tuple[str, int]]:
        """Start no more jobs; return those that did not start, as (job, epoch)."""
        self._is_open = False
        return self.empty_backlog()

    def empty_backlog(self) -> list[tuple[str, int]]:
        """Take out all jobs that have not started, as (job, epoch)."""
        unbegun = [(job.claimed.job, job.claimed.epoch) for job in self.backlog]
        self.backlog.clear()
        return unbegun

    def abandon(self, running: RunningJob, outcome: Outcome) -> None:
        """Treat a job that cannot be ended as ended, with this outcome."""
        if self.release(running):
            running.seconds = monotonic() - running.began
            self._ended.put(running, outcome)

    def release(self, running: RunningJob) -> bool:
        """Give a job up; its slot stays taken until its code has ended. Return False if it ended before."""
        if self.running.get(running.claimed.job) is not running:
            return False
        if printing.BEGUN:
            printing.finish(running.claimed.job, running.claimed.epoch)
        del self.running[running.claimed.job]
        self.spoilt += 1
        return True

    def _fill(self) -> None:
        """Start as many jobs as may run at once."""
        if self._is_filling or not self._has_next():
            return
        self._is_filling = True
        if BEGINS_EAGERLY:  # outside of any task, so that no job runs on the stack of another
            self._loop.call_soon(self._begin_some, context=self._context)
            return
        try:
            while self._has_next():
                self._begin(self._take())
        finally:
            self._is_filling = False

    def _begin_some(self) -> None:
        """Start jobs for a while; they may run to their ends meanwhile."""
        turn_ends = monotonic() + self._start_time
        try:
            while self._has_next() and monotonic() < turn_ends:
                self._begin(self._take())
        finally:
            self._is_filling = False
        self._fill()

    def _has_next(self) -> bool:
        return bool(self.backlog) and self._is_open and len(self._taken) < self._runner.concurrency

    def _take(self) -> RunningJob:
        """Take the next job out of the backlog."""
        running = self._executors.prepare(self.backlog.popleft())
        job = running.claimed.job
        if job in self.running:
            self._supersede(self.running[job])
        self.running[job] = running
        if self._tells_all:
            log.debug("%s begins", running.label)
        if self._emitter.started:
            self._emitter.emit(running.started(self._runner.id))
        failpoint("before_start")
        return running

    def _supersede(self, earlier: RunningJob) -> None:
        """Give up an earlier run of a job that still goes on here: it lost its lease, and the job was reclaimed."""
        log.warning("%s came back to where its code still goes on; that run counts for nothing any more", earlier.label)
        self.release(earlier)
        earlier.lose()

    def _begin(self, running: RunningJob) -> None:
        self._taken.add(running)
        body, name, context = self._run(running), running.claimed.job, self._context.copy()
        if sys.version_info >= (3, 12):
            task = asyncio.Task(body, loop=self._loop, name=name, context=context, eager_start=True)
        else:
            task = asyncio.Task(body, loop=self._loop, name=name, context=context)
        if running in self._taken:
            running.task = task

    async def _run(self, running: RunningJob) -> None:
        while True:
            try:
                outcome = await running.executor.run(running)
            except GeneratorExit:  # the loop was closed: no code is left to take an outcome
                raise
            except BaseException as error:
                outcome = _outcome_of(error, running)
            self._end(running, outcome)
            # A task that has not run a job's own code can also wait for the next job of the same lane.
            if running.is_on_loop or not self._has_next() or self.backlog[0].claimed.lane != running.claimed.lane:
                break
            running = self._take()
            self._taken.add(running)
            running.task = asyncio.current_task()
        self._fill()

    def _end(self, running: RunningJob, outcome: Outcome) -> None:
        self._taken.remove(running)
        running.heard = running.task = None
        if printing.BEGUN:
            printing.finish(running.claimed.job, running.claimed.epoch)
        if self.running.get(running.claimed.job) is running:
            del self.running[running.claimed.job]
            running.seconds = monotonic() - running.began
            self._ended.put(running, outcome)
        else:
            log.warning("%s ended after it was given up; how it ended was dropped", running.label)
            self.spoilt -= 1
            self._ended.wake()


def _outcome_of(error: BaseException, running: RunningJob) -> Outcome:
    """Return the outcome of a job whose executor raised. Whatever escapes from there is an error of this job only."""
    if isinstance(error, asyncio.CancelledError) and running.stop.request is not None:
        return running.stop.stopped()
    log.exception("%s could not be run to its end", running.label)
    return Raised(evidence_of(error, error.__traceback__))
