"""The pool of child processes of a runner. Each isolated job runs alone in a child, and a child is kept for later jobs.

A child is replaced when it is too old, has grown too much, or was left in an unknown state. An attempt counts as ended
when no process that it started is alive.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import msgspec

from posthorse.clock import monotonic
from posthorse.rules.outcomes import Crashed, Lost, Outcome, Stopped, Unfit
from posthorse.rules.packing import Packing
from posthorse.rules.throttle import Throttle, ThrottleFunction
from posthorse.store.store import Store
from posthorse.worker.base.launch import STARTED_IN
from posthorse.worker.base.log_lines import log_format, log_level
from posthorse.worker.base.process_signals import seconds_since_signal
from posthorse.worker.isolation.child_process import ChildProcess, start_child
from posthorse.worker.isolation.code_location import CodeLocation, NotFound, location_of
from posthorse.worker.isolation.exit_status import outcome_of, status_in_words
from posthorse.worker.isolation.messages import Begin, ChildEnded, ChildPlan, Garbled, Logged, throttle_for_child
from posthorse.worker.running.job_logs import JobLogs
from posthorse.worker.running.preflight import preflight_check
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

MAX_LIFE = 3600.0
MAX_GROWTH = 256_000_000
"""Bytes that a child may use beyond what it used after its first job, if its kind has no `max_memory`."""

LAST_WORDS = 0.5
"""Seconds that a job gets to clean up after the grace."""

GARBLED = "it wrote into the channel of its process, which is Posthorse's alone; its process was killed"


class ChildPool:
    """The child processes of one runner. `target` names its application; embedded workers have none."""

    def __init__(
        self,
        store: Store,
        runner: str,
        *,
        target: str | None,
        longest_transaction: float,
        logs: JobLogs,
        packing: Packing,
    ) -> None:
        self._logs = logs
        self._packing = packing
        self._store = store
        self._runner = runner
        self._target = target
        self._longest_transaction = longest_transaction
        self._idle: list[ChildProcess] = []
        self._busy: dict[RunningJob, ChildProcess] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, running: RunningJob) -> Outcome:
        """Run a job and return its outcome."""
        if running.unfit is not None:
            return Unfit(running.unfit)
        if running.asks_first:
            instead = await preflight_check(self._store, running, self._packing)
            if instead is not None:
                return instead
        try:
            location = location_of(running.kind, self._target)
            child = await self._child(location, running.kind.kind)
        except NotFound as error:
            return Unfit(str(error))
        except OSError as error:
            log.error("cannot start a child process: %s", error)
            return Lost(f"no process could be started for it: {error}")
        self._busy[running] = child
        running.heard = lambda running, is_urgent: self._tell(running, child, is_urgent)
        try:
            return await self._run_in(child, running, location)
        except BaseException:
            child.kill()
            raise
        finally:
            running.heard = None
            del self._busy[running]

    def throttle(self, running: RunningJob, throttle: Throttle | ThrottleFunction | None) -> None:
        """Let a running job obey the throttle that its queue has now."""
        child = self._busy.get(running)
        if child is not None:
            child.throttle(throttle)

    def end(self, running: RunningJob) -> bool:
        """Kill the child that runs the job, and all processes below it."""
        child = self._busy.get(running)
        if child is not None:
            child.kill()
        return True

    async def close(self) -> None:
        """End all children."""
        for child in self._busy.values():
            child.kill()
        for child in self._idle:
            self._retire(child)
        self._idle.clear()
        await asyncio.gather(*self._ending, *(child.exit_status for child in self._busy.values()))

    async def _run_in(self, child: ChildProcess, running: RunningJob, location: CodeLocation) -> Outcome:
        if not await child.is_ready():
            exit_status = await child.becomes_over()
            if (
                seconds_since_signal() < self._store.tuning.signal_patience
            ):  # the signal reached the child while it started
                return Stopped("shutdown")
            return self._as_asked(running) or Unfit(
                f"its child process died at its start: {status_in_words(exit_status.status)}"
            )
        if running.stop.request is not None:
            self._keep(child)
            return running.stop.stopped()
        options = msgspec.structs.replace(running.kind.options, kill_after=running.kill_after)
        running.began = monotonic()
        begin = Begin(
            claimed=running.claimed,
            runner=self._runner,
            kind=running.kind.kind,
            lane=running.lane,
            location=location,
            timeout=running.timeout,
            max_memory=options.max_memory,
            tenant=running.options.tenant or running.lane.tenant or None,
            captures_print=self._logs.captures_print(running.kind.options),
            log_level=self._logs.level_of_run(running),
            throttle=throttle_for_child(running.queue.throttle),
        )
        child.throttled_by = running.queue.throttle
        ended = await child.run(
            begin, kill_after=options.kill_after, max_memory=options.max_memory, logged=self._take_logged
        )
        if isinstance(ended, Garbled):
            child.kill()
            await child.becomes_over()
            running.slices_committed = None
            return self._as_asked(running) or Crashed(GARBLED, alone=True, is_contained=True)
        if ended is None:
            exit_status = await child.becomes_over()
            running.slices_committed = None
            return (self._as_asked(running) if exit_status.cause == "asked" else None) or outcome_of(
                exit_status, options
            )
        if await child.is_clean():
            self._keep(child, ended, options.max_memory)
        running.slices_committed = ended.slices
        if ended.request is not None:
            running.stop.ask(ended.request)
        return ended.outcome

    def _take_logged(self, message: Logged) -> None:
        self._logs.take_lines(message.job, message.epoch, message.lines)

    def _as_asked(self, running: RunningJob) -> Outcome | None:
        """Return the outcome of a job that was killed because it did not stop; None if nothing was requested of it."""
        return running.verdict or (None if running.stop.request is None else running.stop.stopped())

    async def _child(self, location: CodeLocation, kind: str) -> ChildProcess:
        while self._idle:
            child = self._idle.pop()
            if not child.is_over:
                return child
        plan = ChildPlan(
            location=location,
            kind=kind,
            url=self._store.url,
            path=sys.path,
            arguments=sys.argv,
            longest_transaction=self._longest_transaction,
            log_level=log_level(),
            log_format=log_format(),
            backend=type(self._store.backend).__module__,
        )
        return await start_child(plan, None if self._target is None else STARTED_IN)

    def _tell(self, running: RunningJob, child: ChildProcess, is_urgent: bool) -> None:
        request = running.stop.request
        if request is None:
            child.withdraw()
        elif request == "lost":
            child.kill()
        else:
            child.ask(request, running.stop.reason, is_urgent=is_urgent)
            if request == "shutdown" and is_urgent:
                asyncio.get_running_loop().call_later(LAST_WORDS, self._end_if_busy, running, child)

    def _end_if_busy(self, running: RunningJob, child: ChildProcess) -> None:
        if self._busy.get(running) is child:
            child.kill()

    def _keep(self, child: ChildProcess, ended: ChildEnded | None = None, max_memory: int | None = None) -> None:
        """Keep a child for the next job, or let it end."""
        if ended is not None:
            child.memory_at_first = child.memory_at_first or ended.memory
            most = max_memory or child.memory_at_first + MAX_GROWTH
            if not ended.is_reusable or ended.memory > most or child.jobs >= self._store.tuning.max_jobs_of_child:
                return self._retire(child)
        if monotonic() - child.born > MAX_LIFE:
            return self._retire(child)
        return self._idle.append(child)

    def _retire(self, child: ChildProcess) -> None:
        task = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
