"""The main program of a child process: runs isolated jobs, one after the other.

A reaper starts it (`worker/base/launch`); its plan is the first message on the channel. It opens the store itself and
writes under the fence of each attempt, just as a runner does; only the outcome goes through the runner. It reads
requests in a thread of its own, so that they arrive while a job blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from typing import BinaryIO, cast

from posthorse.app.client import Posthorse
from posthorse.errors import InvalidCall, PosthorseError
from posthorse.processes.find_application import find_application
from posthorse.rules.job import Options
from posthorse.rules.outcomes import Outcome, Raised, Stopped, Unfit
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.registry import Registered, Registry
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.fence import Fence
from posthorse.store.patience import wait_as, worker_waiting
from posthorse.worker.base import log_capture, printing, process_signals
from posthorse.worker.base.event_loop import new_loop, run_to_end
from posthorse.worker.base.launch import import_before_the_project, inherited_socket
from posthorse.worker.base.log_capture import RECORDER
from posthorse.worker.base.log_lines import configure_logging, hear_from
from posthorse.worker.base.process import end_gracefully
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.isolation.child_logs import ChildLogs
from posthorse.worker.isolation.code_location import CodeLocation
from posthorse.worker.isolation.memory import held, limited
from posthorse.worker.isolation.messages import (
    Begin,
    ChildEnded,
    ChildPlan,
    Ready,
    StopRequest,
    ThrottleForChild,
    ThrottleNow,
    Withdraw,
    next_to_child,
    throttle_in_child,
)
from posthorse.worker.isolation.runner_channel import RunnerChannel
from posthorse.worker.running.code_errors import evidence
from posthorse.worker.running.execution import FromThread, Surroundings, run
from posthorse.worker.running.process_life import ProcessLife
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.threads import Threads

log = logging.getLogger("posthorse.worker")


class JobInChild:
    """One job in this child, as `execution.run` needs it."""

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.claimed: Claimed = begin.claimed
        self.lane = begin.lane
        self.options = Options.decode(begin.claimed.options)
        self.timeout = begin.timeout
        self.unfit: str | None = None
        self.stop = StopSignal()
        self.journal: Journal | None = None
        self.task: asyncio.Task[Outcome] | None = None
        self.throttle: ThrottleForChild = begin.throttle
        self._kind: Registered | None = None
        self._queues: DeclaredQueues | None = None

    @property
    def kind(self) -> Registered:
        """The kind of the job; known after `prepare`."""
        assert self._kind is not None
        return self._kind

    def prepare(self, app: Posthorse, longest_transaction: float) -> None:
        """Find the code, and open a journal for a job that has a context."""
        self._kind = app.registry[self.begin.kind]
        if self._kind.needs_context:
            attempt = Fence(self.claimed.job, self.claimed.epoch, self.begin.runner)
            self.journal = Journal(
                app.store,
                attempt,
                self.stop,
                lane=self.lane,
                longest_transaction=longest_transaction,
                failed=self.claimed.errors,
                texts=app.registry.packing.of_stored(self.claimed.job, self.claimed.options),
            )
            self._queues = app.registry.queues
            self.obey(self.throttle)

    def obey(self, throttle: ThrottleForChild) -> None:
        """Obey the throttle that the queue of the job has now."""
        self.throttle = throttle
        if self.journal is not None and self._queues is not None:
            self.journal.queue_throttle = throttle_in_child(throttle, self._queues, self.lane.queue)

    def interrupt(self) -> None:
        """Cancel an async job where it waits."""
        can_hear = self._kind is not None and (self._kind.is_async or self.stop.is_awaited)
        if can_hear and self.task is not None:
            self.task.cancel()


class ChildMain:
    """The main program of a child, which serves one runner."""

    def __init__(self, plan: ChildPlan, channel: socket.socket, told: BinaryIO) -> None:
        self._plan = plan
        self._told = told
        self._apps: dict[CodeLocation, Posthorse] = {}
        self._lives: dict[Posthorse, ProcessLife] = {}
        self._turn: JobInChild | None = None
        self._turns: asyncio.Queue[JobInChild | None] = asyncio.Queue()
        self._threads = Threads[FromThread](1)
        self._send = RunnerChannel(channel).send
        self._logs = ChildLogs(self._send)
        self._captures_print = False

    async def main(self) -> None:
        """Run jobs until the runner closes the channel."""
        loop = asyncio.get_running_loop()
        RECORDER.set(self._logs)
        log_capture.begin()
        try:
            await self._life_of(self._application(self._plan.location, self._plan.kind))
        except PosthorseError as error:
            log.debug("each job will be told: %s", error)
        threading.Thread(target=self._listen, args=(loop,), name="posthorse-channel", daemon=True).start()
        self._send(Ready(os.getpid()))
        while (turn := await self._turns.get()) is not None:
            self._send(await self._ended(turn))
        for app, life in self._lives.items():
            await life.stop()
            app.close()

    async def _ended(self, turn: JobInChild) -> ChildEnded:
        try:
            return await self._end_of(turn)
        except BaseException as error:
            log.exception("job %s could not be run to its end", turn.claimed.job)
            return ChildEnded(Raised(evidence(error)), turn.stop.request, 0, held(), is_reusable=False)

    async def _end_of(self, turn: JobInChild) -> ChildEnded:
        try:
            app = self._application(turn.begin.location, turn.begin.kind)
            life = await self._life_of(app)
        except PosthorseError as error:
            return ChildEnded(Unfit(str(error)), None, 0, 0, is_reusable=False)
        turn.prepare(app, self._plan.longest_transaction)
        self._begin_logs(turn)
        try:
            outcome, is_reusable = await self._outcome_of(turn, app.store.where, app.registry, life.resources)
        finally:
            printing.finish(turn.claimed.job, turn.claimed.epoch)
            self._logs.end()
        slices = 0 if turn.journal is None else turn.journal.slices_committed + turn.journal.steps_kept
        return ChildEnded(outcome, turn.stop.request, slices, held(), is_reusable)

    def _begin_logs(self, turn: JobInChild) -> None:
        begin, claimed = turn.begin, turn.claimed
        log_capture.capture()
        hear_from(begin.log_level)
        if begin.captures_print and not self._captures_print:
            self._captures_print = True
            printing.begin()
        self._logs.begin(
            claimed.job, claimed.epoch, begin.log_level, tenant=begin.tenant, keeps_prints=begin.captures_print
        )

    async def _outcome_of(
        self, turn: JobInChild, home: str, registry: Registry, resources: ProcessResources
    ) -> tuple[Outcome, bool]:
        try:
            with limited(turn.begin.max_memory):
                around = Surroundings(self._threads, home, resources, registry.packing, registry.combiners)
                running = run(turn, registry.middleware.around(turn.kind.kind), around)
                turn.task = asyncio.create_task(running)
                outcome = await turn.task
        except asyncio.CancelledError:
            outcome = Stopped("shutdown") if turn.stop.request is None else turn.stop.stopped()
        except MemoryError as error:  # even describing the error took too much memory
            outcome = Raised(evidence(error))
        # Code that ran out of memory may have left anything in an unknown state.
        return outcome, not (isinstance(outcome, Raised) and outcome.error.type == MemoryError.__name__)

    def _application(self, location: CodeLocation, kind: str) -> Posthorse:
        app = self._apps.get(location)
        if app is None or kind not in app.registry:
            app = find_application(location, kind)
            wait_as(worker_waiting(app.settings.store_timeout))
            if app.settings.url != self._plan.url:
                app.use_url(self._plan.url)
            self._apps[location] = app
        return app

    async def _life_of(self, app: Posthorse) -> ProcessLife:
        """Return the life of an application in this process, which begins before its first job. Raises InvalidCall."""
        if app not in self._lives:
            life = ProcessLife(app.registry.process_hooks, app.store.tuning)
            try:
                await life.start()
            except (Exception, SystemExit) as error:
                log.exception("a function of on_start failed in this child process")
                raise InvalidCall(
                    f"its child process could not start: a function of on_start failed: {error!r}"
                ) from error
            self._lives[app] = life
        return self._lives[app]

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._obey(loop)
        except Exception:
            # As after a deploy, if the runner still runs the old code.
            log.exception("this child process does not understand its runner, and ends")
            os._exit(1)

    def _obey(self, loop: asyncio.AbstractEventLoop) -> None:
        while (message := next_to_child(self._told)) is not None:
            match message:
                case Begin():
                    self._turn = JobInChild(message)
                    loop.call_soon_threadsafe(self._turns.put_nowait, self._turn)
                case StopRequest() if self._turn is not None:
                    self._ask(loop, self._turn, message)
                case Withdraw() if self._turn is not None:
                    self._turn.stop.withdraw()
                case ThrottleNow() if self._turn is not None:
                    self._turn.obey(message.throttle)
                case _:
                    pass
        loop.call_soon_threadsafe(self._turns.put_nowait, None)

    def _ask(self, loop: asyncio.AbstractEventLoop, turn: JobInChild, asked: StopRequest) -> None:
        is_news = turn.stop.request != asked.request  # else it learned of it at a checkpoint and is about to end
        turn.stop.ask(asked.request, asked.reason)
        if asked.is_urgent and (is_news or asked.request == "shutdown"):
            loop.call_soon_threadsafe(turn.interrupt)


def main(descriptor: int) -> None:
    """Enter the process."""
    channel = inherited_socket(descriptor)
    told = cast("BinaryIO", channel.makefile("rb"))
    plan = next_to_child(told)
    if not isinstance(plan, ChildPlan):
        sys.exit(1)  # the runner is gone
    import_before_the_project(plan.backend)
    sys.path[:], sys.argv[:] = plan.path, plan.arguments
    # The runner decides when a child stops.
    process_signals.stay()
    configure_logging(plan.log_level, plan.log_format)
    _run(ChildMain(plan, channel, told))
    end_gracefully(0)


def _run(child: ChildMain) -> None:
    loop = new_loop()
    asyncio.set_event_loop(loop)
    run_to_end(loop, child.main())
