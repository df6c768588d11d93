"""A runner process: the job loop in a process of its own, with a control pipe to its supervisor.

Started by its supervisor (`worker/base/launch`); its plan is the first message on the control pipe.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec

from posthorse.app.loading import load_application
from posthorse.clock import monotonic, until_tick
from posthorse.errors import PosthorseError, SchemaMismatch, StoreUnreachable
from posthorse.processes.control_pipe import ControlPipe, Message
from posthorse.processes.plan import (
    AWAY,
    LOST_LEASE,
    SCHEMA_MISMATCH,
    START_FAILED,
    UNANSWERED,
    UNENDING_CODE,
    UNUSABLE,
    RunnerPlan,
)
from posthorse.store.operations.runners import register
from posthorse.store.operations.tallies import Counted
from posthorse.store.patience import STOPPING_WAIT, wait_as, worker_waiting
from posthorse.worker.assembly import make_job_loop, make_runner
from posthorse.worker.base import process_signals
from posthorse.worker.base.event_loop import new_loop, run_to_end
from posthorse.worker.base.launch import import_before_the_project, inherited_socket
from posthorse.worker.base.log_lines import configure_logging
from posthorse.worker.base.process import die_with_parent, end_at_once, end_gracefully
from posthorse.worker.base.unanswered_calls import ANSWER_WITHIN, comes_within, in_a_thread
from posthorse.worker.heartbeat import retire_quietly
from posthorse.worker.running.job_loop import JobLoop
from posthorse.worker.running.process_life import ProcessLife

ALIVE_INTERVAL = 1.0
TIME_TO_READ = 0.05
LAST_WORDS = 1.0
"""Seconds in which jobs may clean up after the lease was lost."""

MAX_CLOSE = 3.0
"""Seconds for closing a store that answers; SQLite may write a long log into the file then."""

log = logging.getLogger("posthorse.worker")


class RunnerMain:
    """The main program of a runner process, which is one incarnation of the runner."""

    def __init__(self, plan: RunnerPlan, control_pipe: ControlPipe, messages: Iterator[Message]) -> None:
        self._plan = plan
        self._control_pipe = control_pipe
        self._messages = messages
        self._app = load_application(plan.worker_plan.target)
        if plan.worker_plan.url is not None:
            self._app.use_url(plan.worker_plan.url)
        self._until = monotonic() + self._app.settings.lease
        self._waiting = worker_waiting(self._app.settings.store_timeout)
        self._work: JobLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_taken_away = False
        self._is_leaving = False

    async def main(self) -> int:
        """Start the application, serve, and let the application end; return the exit code."""
        wait_as(self._waiting)
        life = ProcessLife(self._app.registry.process_hooks, self._app.store.tuning)
        try:
            await life.start()
        except (Exception, SystemExit):
            log.exception("the runner ends before it takes jobs: a function of on_start failed")
            return START_FAILED
        self._until = monotonic() + self._app.settings.lease  # no lease ran meanwhile
        try:
            return await self._serve(life)
        finally:
            if not self._is_taken_away:
                await life.stop()

    async def _serve(self, life: ProcessLife) -> int:
        """Register, work, sign off; return the exit code."""
        app, plan = self._app, self._plan
        runner = make_runner(
            app.registry,
            queues=plan.worker_plan.queues,
            labels=plan.worker_plan.labels,
            concurrency=plan.concurrency,
            worker=plan.worker,
            release=app.settings.release or None,
            runner=plan.runner,
        )
        self._work = make_job_loop(
            app.store,
            app.registry,
            app.settings,
            runner,
            life.resources,
            suspects="only" if plan.is_quarantine else "never",
            target=plan.worker_plan.target,
            is_replaceable=True,
            lost=self._is_lost,
            report=self._report,
        )
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._obey, name="posthorse-control pipe", daemon=True).start()
        threading.Thread(target=self._mind_the_lease, name="posthorse-lease", daemon=True).start()
        await app.store.arun(register(runner, lease=round(app.settings.lease * 1_000_000)))
        budgets = {kind: app.registry[kind].options.max_crashes for kind in app.registry}
        isolated = [kind for kind in app.registry if app.registry[kind].is_isolated]
        self._control_pipe.send(ready=True, max_crashes=budgets, isolated=isolated, kinds=len(app.registry))
        beating = asyncio.create_task(self._show_life())
        is_answered = False
        try:
            await self._work.run()
        finally:
            beating.cancel()
            if not self._work.is_lost:
                self._is_leaving = True
                self._control_pipe.send(leaving=True)
                await life.stop()
                is_answered = not self._work.is_unanswered and await self._sign_off(runner.id)
        if self._work.is_lost:
            return LOST_LEASE
        return UNENDING_CODE if self._work.is_spoilt else 0 if is_answered else UNANSWERED

    async def _sign_off(self, runner: str) -> bool:
        """Leave the list of runners and close the store; return False if the store does not answer."""
        if not await comes_within(ANSWER_WITHIN, retire_quietly(self._app.store, runner)):
            log.info("the runner could not sign off: the store does not answer")
            return False
        await comes_within(MAX_CLOSE, in_a_thread(self._app.close))
        return True

    def _is_lost(self) -> bool:
        return self._is_taken_away

    def _report(self, counted: Sequence[Counted]) -> None:
        """Pass on what was counted since the last time: to a supervisor that listens, and to OpenTelemetry."""
        if self._plan.worker_plan.reports_counts:
            self._control_pipe.send(counted=counted)
        if "opentelemetry.metrics" in sys.modules:
            from posthorse.telemetry.meters import observe  # here, because it needs OpenTelemetry

            observe(counted)

    async def _show_life(self) -> None:
        while True:
            self._control_pipe.send(running=self._work.running_count if self._work else 0)
            await asyncio.sleep(until_tick(ALIVE_INTERVAL))

    def _obey(self) -> None:
        """Read messages of the supervisor, in a thread of its own, so that they arrive while a job blocks the loop."""
        for message in self._messages:
            if "lease_until" in message:
                self._until = float(str(message["lease_until"]))
            elif "lost" in message:
                self._is_taken_away = True
            elif "drain" in message:
                self._waiting.hurry(STOPPING_WAIT)
                self._on_loop("stop")
        os._exit(1)  # the supervisor is gone and no longer renews our lease

    def _mind_the_lease(self) -> None:
        """End this process when its lease ends, in a thread of its own, so that no job can prevent it."""
        while not self._is_taken_away and not self._is_over():
            time.sleep(min(until_tick(ALIVE_INTERVAL), max(0.01, self._until - monotonic())))
        if self._is_leaving:
            return
        self._is_taken_away = True
        time.sleep(LAST_WORDS)
        log.error("the lease could not be renewed; the runner ends")
        end_at_once(LOST_LEASE)

    def _is_over(self) -> bool:
        # After a stop of this process, or of its interpreter, pending messages are read before the lease is judged.
        for _ in range(2):
            if monotonic() < self._until or self._control_pipe.has_mail():
                return False
            time.sleep(TIME_TO_READ)
        return monotonic() >= self._until

    def _on_loop(self, verb: str) -> None:
        if self._loop is not None and self._work is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(getattr(self._work, verb))


def main(descriptor: int) -> None:
    """Enter the process."""
    control_pipe = ControlPipe(inherited_socket(descriptor))
    messages = control_pipe.messages()
    told = next(messages, None)
    if told is None:
        sys.exit(1)  # the supervisor is gone
    plan = msgspec.convert(told["plan"], RunnerPlan)
    die_with_parent(plan.parent)
    # Terminals and service managers signal whole groups, but the supervisor decides when a runner stops.
    process_signals.stay()
    configure_logging(plan.worker_plan.log_level, plan.worker_plan.log_format)
    import_before_the_project(plan.backend)
    try:
        process = RunnerMain(plan, control_pipe, messages)
    except PosthorseError as error:
        log.error("%s", error)
        end_gracefully(UNUSABLE)
    process_signals.stay()  # whatever the application has set
    gc.freeze()  # all that was imported stays, so full collections need not walk through it again and again
    code = _run(process)
    if code == LOST_LEASE:
        end_at_once(code)  # its jobs may run elsewhere by now
    end_gracefully(code)


def _run(process: RunnerMain) -> int:
    # Without asyncio's own clean-up, which would wait for jobs that swallow their cancellation.
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return run_to_end(loop, process.main())
    except SchemaMismatch as error:
        log.error("the runner ends: %s", error)
        return SCHEMA_MISMATCH
    except StoreUnreachable as error:
        log.error("the runner ends: %s", error)
        return AWAY
    except PosthorseError as error:
        log.error("the runner ends: %s", error)
    except BaseException:
        log.exception("the runner ends")
    return 1
