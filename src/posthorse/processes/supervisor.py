"""The supervisor: a process that starts runners, renews their leases, and replaces runners that die.

It imports the application for its settings and runs none of its jobs, so no job can stop its heartbeats.
1. A runner that is stopped, or silent beyond the stall limit, gets no more heartbeats; one without a lease is ended.
2. The jobs of a runner that died are rescued: they count as crashed, alone or among others.
3. SIGTERM or SIGINT drains. A second signal, or the end of the grace, kills; jobs that are left go back unspent.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from posthorse.app.client import Posthorse
from posthorse.app.loading import load_application
from posthorse.app.store_origin import apart, lead_to
from posthorse.clock import monotonic, until_tick
from posthorse.errors import PosthorseError
from posthorse.maintenance.namesakes import tell_of_namesakes
from posthorse.processes import orphans
from posthorse.processes.plan import (
    AWAY,
    SCHEMA_MISMATCH,
    START_FAILED,
    UNANSWERED,
    UNENDING_CODE,
    UNUSABLE,
    WorkerPlan,
)
from posthorse.processes.rescue import rescue_held_by
from posthorse.processes.runner_process import RunnerProcess
from posthorse.processes.shutdown import Shutdown
from posthorse.processes.suspects import Suspects
from posthorse.rules.emitter import Emitter
from posthorse.rules.job import Lane
from posthorse.rules.namesakes import Serving
from posthorse.store.operations.tallies import Counted
from posthorse.store.patience import STOPPING_WAIT, wait_as, worker_waiting
from posthorse.version import VERSION
from posthorse.worker.assembly import begin_maintenance, make_heart
from posthorse.worker.base.launch import current_folder
from posthorse.worker.base.log_formats import LogFormat
from posthorse.worker.base.log_lines import configure_logging
from posthorse.worker.base.process import exit_in_words
from posthorse.worker.base.unanswered_calls import ends_once_told, ends_while_answered
from posthorse.worker.heartbeat import Pulse

if TYPE_CHECKING:
    from posthorse.processes.pages import WorkerPages

log = logging.getLogger("posthorse.worker")

QUICK_DEATH = 5.0
"""A runner that lived for fewer seconds is restarted after a growing pause."""

MAX_FAILED_STARTS = 3
"""How many runners may die before any was ready; then the worker ends."""

MAX_BACKOFF = 30.0
LOOK_FOR_SUSPECTS_INTERVAL = 2.0
MAX_SUSPECTS = 4
"""Suspects that run at once, each in its own process; if there are more runners, as many as these."""


def supervise(
    target: str,
    url: str | None,
    *,
    queues: Sequence[str],
    labels: Sequence[str] = (),
    processes: int,
    concurrency: int,
    log_level: str = "info",
    log_format: LogFormat = "text",
    folder: str | None = None,
    listen_at: str | None = None,
) -> int:
    """Run a worker until it must stop; return its exit code.

    The code is 0; 2 if the application or the address to listen at cannot be used, 5 if the schema of its store does
    not fit, 70 if no runner can start. `folder` is where the worker was started, for an application that changed the
    current folder when imported. `listen_at`: HOST:PORT for metrics and probes.
    """
    configure_logging(log_level, log_format)
    folder = folder or current_folder()
    try:
        app = load_application(target)
        if url is not None:
            lead_to(app, url)
        if log_format != "text":  # people were told on the terminal
            log.info("posthorse %s starts", VERSION, extra=_told_at_start(app, queues, labels, processes, concurrency))
        if (stores := apart(app)) is not None:
            log.warning("%s; %s", *stores)
        listening = None if listen_at is None else _listen(listen_at)
    except PosthorseError as error:
        log.error("%s", error)
        return 2
    plan = WorkerPlan(
        target=target,
        url=url,
        queues=tuple(queues),
        labels=tuple(labels),
        concurrency=concurrency,
        log_level=log_level,
        log_format=log_format,
        folder=folder,
        reports_counts=listening is not None,
    )
    supervisor = Supervisor(app, plan, processes, listening)
    try:
        return asyncio.run(supervisor.run())
    finally:
        app.close()
        supervisor.shutdown.is_over.set()


def _told_at_start(
    app: Posthorse, queues: Sequence[str], labels: Sequence[str], processes: int, concurrency: int
) -> dict[str, object]:
    plan = {"queues": list(queues), "labels": list(labels), "processes": processes, "concurrency": concurrency}
    return {"store": app.store.where, **plan, "kinds": sorted(app.registry)}


def _listen(address: str) -> socket.socket:
    from posthorse.processes.http_server import listening_socket  # here, for a worker that does not listen

    return listening_socket(address)


class Supervisor:
    """The supervisor of one worker, which keeps a number of runners at work."""

    def __init__(
        self, app: Posthorse, plan: WorkerPlan, processes: int, listening: socket.socket | None = None
    ) -> None:
        self._store = app.store
        self._store.emitter = Emitter()  # listeners are code of the application, and none of it runs here
        self._settings = app.settings
        self._registry = app.registry
        self._plan = plan
        self._backend = type(app.store.backend).__module__
        self._processes = processes
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._suspects = Suspects(app.store, app.registry.queues, serves=self._serves, labels=plan.labels)
        self._heart = make_heart(app.store, app.settings)
        self._children: dict[int, RunnerProcess] = {}
        self._quick_deaths = 0
        self._signals = 0
        self._has_worked = False
        self._failed_starts = 0
        self._looking: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._waiting = worker_waiting(app.settings.store_timeout)
        self.shutdown = Shutdown(app.store, self._children, grace=app.settings.grace)
        self._pages = None if listening is None else self._make_pages(listening)

    async def run(self) -> int:
        """Work until a signal, then drain."""
        wait_as(self._waiting)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._heart.start()
        if self._pages is not None:
            await self._pages.start()
        maintaining = begin_maintenance(self._store, self._registry, self._settings, self._worker)
        reaping = asyncio.create_task(orphans.reap_forever(self._pids)) if orphans.are_ours() else None
        keepers = [asyncio.create_task(self._keep(number)) for number in range(self._processes)]
        most = max(self._processes, min(MAX_SUSPECTS, self._plan.concurrency))
        keepers.append(asyncio.create_task(self._quarantine(range(self._processes, self._processes + most))))
        try:
            await self._stop.wait()
            self._waiting.hurry(STOPPING_WAIT)
            await self.shutdown.drain(keepers)
        finally:
            await asyncio.to_thread(self._heart.stop)
            for task in (*maintaining, reaping, self._looking):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*maintaining, return_exceptions=True)
            if self._pages is not None:
                await self._pages.close()
        return self.shutdown.exit_code

    def _make_pages(self, listening: socket.socket) -> WorkerPages:
        from posthorse.processes.pages import WorkerPages  # here, for a worker that does not listen

        return WorkerPages(
            listening,
            self._store,
            self._settings,
            self._children,
            worker=self._worker,
            slots=self._processes * self._plan.concurrency,
            is_stopping=self._stop.is_set,
        )

    def _pids(self) -> set[int]:
        return {child.process.pid for child in self._children.values()}

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("stopping: running jobs end or stop at a checkpoint; a second signal stops at once")
            self._stop.set()
        else:
            self._waiting.hurry(0)
            self.shutdown.is_urgent.set()

    # ── one runner after the other ───────────────────────────────────────────────────────────────────

    async def _keep(self, number: int) -> None:
        """Keep one runner alive: start another when it ends."""
        while not self._stop.is_set():
            lived = await self._one_life(number)
            if not self._stop.is_set():
                await self._pause_before_next(number, lived=lived)

    async def _quarantine(self, places: Sequence[int]) -> None:
        """Keep runners for suspects while any wait, so that a suspect can break only its own process.

        One runner is enough for the usual few; while more suspects wait, each look doubles the number of runners.
        """
        lives: dict[int, asyncio.Task[float]] = {}
        while not await self._stops_within(until_tick(LOOK_FOR_SUSPECTS_INTERVAL)):
            free = [number for number in places if number not in lives or lives[number].done()]
            try:
                if not free or not await self._suspects.wait() or self._stop.is_set():
                    continue
            except PosthorseError as error:
                log.warning("cannot look for suspects: %s", error)
                continue
            for number in free[: max(1, len(places) - len(free))]:
                lives[number] = asyncio.create_task(self._one_life(number, is_quarantine=True))
        await asyncio.gather(*lives.values())

    def _serves(self, lane: Lane) -> bool:
        queues = self._plan.queues
        return lane.kind in self._registry and (not queues or lane.queue in queues)

    async def _one_life(self, number: int, *, is_quarantine: bool = False) -> float:
        """Start a runner, wait for its end and rescue its jobs; return the seconds that it lived."""
        self.shutdown.lives += 1
        try:
            return await self._live(number, is_quarantine=is_quarantine)
        finally:
            self.shutdown.lives -= 1

    async def _live(self, number: int, *, is_quarantine: bool) -> float:
        try:
            child = await RunnerProcess.start(
                number, self._worker, self._plan, backend=self._backend, is_quarantine=is_quarantine
            )
        except OSError as error:
            log.error("cannot start runner %d: %s", number, error)
            return 0.0
        asyncio.get_running_loop().add_reader(child.control_pipe, self._listen, child)
        log.info("runner %d started (pid %d)", number, child.process.pid)
        self._children[number] = child
        if self._stop.is_set():
            child.control_pipe.send(drain=True)  # it was still starting when the others were asked to drain
        watching = asyncio.create_task(self._watch(child))
        code = await child.process.wait()
        watching.cancel()
        await self._after(child, code)
        # A runner that asked to be replaced did not fail.
        return math.inf if code == UNENDING_CODE else monotonic() - child.started_at

    def _listen(self, child: RunnerProcess) -> None:
        messages = child.control_pipe.receive()
        if messages is None:
            asyncio.get_running_loop().remove_reader(child.control_pipe)
            return
        for message in messages:
            child.hear(message)
            if self._pages is not None and "counted" in message:
                self._pages.totals.add(msgspec.convert(message["counted"], list[Counted]))
            if "ready" in message:
                if not self._has_worked:
                    self._look_for_namesakes()
                self._has_worked = True
                child.pulse = self._pulse(child)
                self._heart.add(child.pulse)

    def _look_for_namesakes(self) -> None:
        """Look for namesakes once a runner is registered: of two workers that start together, one finds the other."""
        mine = Serving(self._worker, self._plan.queues, self._registry.places())
        self._looking = asyncio.create_task(tell_of_namesakes(self._store, mine, lease=self._settings.lease))

    def _pulse(self, child: RunnerProcess) -> Pulse:
        return Pulse(
            child.runner,
            self._settings.lease,
            running=lambda: child.running,
            may_beat=lambda: not child.is_stopped and not self._is_stalled(child),
            renewed=child.renew if self._pages is None else partial(self._note_renewal, child, self._pages),
        )

    def _note_renewal(self, child: RunnerProcess, pages: WorkerPages, until: float) -> None:
        child.renew(until)
        pages.latencies.add(monotonic() - (until - self._settings.lease))

    def _is_stalled(self, child: RunnerProcess) -> bool:
        return child.silence > self._settings.stall

    async def _watch(self, child: RunnerProcess) -> None:
        """End a runner whose jobs went to others, or whose loop is blocked for too long."""
        while True:
            await asyncio.sleep(until_tick(min(1.0, self._settings.stall / 4, self._settings.lease / 12)))
            if child.pulse is not None and child.pulse.is_dead:
                log.error("runner %d lost its lease and is replaced", child.number)
            elif self._is_stalled(child) and not child.is_stopped:
                log.error("runner %d was silent for %.0f s and is replaced", child.number, self._settings.stall)
            else:
                continue
            child.kill()
            return

    async def _after(self, child: RunnerProcess, code: int) -> None:
        """Clean up after a runner that ended."""
        self._heart.drop(child.runner)
        asyncio.get_running_loop().remove_reader(child.control_pipe)
        child.control_pipe.close()
        child.kill()  # processes that its jobs left behind
        child.ended.set()
        self._end_if_hopeless(child, code)
        if not child.was_ready and code in (UNUSABLE, SCHEMA_MISMATCH, AWAY, START_FAILED):
            log.info("runner %d ended before it could take jobs", child.number)
            return
        if self._stop.is_set() or code in (0, UNANSWERED):
            log.info("runner %d ended", child.number)
        elif code == UNENDING_CODE:
            log.warning("runner %d ended, because a job in it would not; another takes its place", child.number)
        else:
            log.error("runner %d (pid %d) died: %s", child.number, child.process.pid, exit_in_words(code))
        await self._rescue(child, code)

    async def _rescue(self, child: RunnerProcess, code: int) -> None:
        """Rescue the jobs of a runner; once the worker stops, only as long as the store answers."""
        rescue = asyncio.create_task(
            rescue_held_by(
                self._store, child, code, max_interruptions=self._settings.max_interruptions, stop=self._stop
            )
        )
        await ends_once_told(rescue, self._stop, within=0)
        within = self.shutdown.patience_of_rescue(runner_was_unanswered=code == UNANSWERED)
        if not await ends_while_answered(rescue, lambda: len(child.freed), within=within):
            log.warning("could not free the jobs of runner %d in time; the sweep will", child.number)
        if self._pages is not None and not self._stop.is_set():
            self._pages.deaths += code not in (0, UNENDING_CODE)
            self._pages.totals.add_lost((lane.queue, lane.kind) for lane in child.freed)

    def _end_if_hopeless(self, child: RunnerProcess, code: int) -> None:
        """End the worker if a runner reports that a restart would not help, or if no runner can start."""
        if child.was_ready or self._stop.is_set():
            return
        if code == SCHEMA_MISMATCH:
            self.shutdown.exit_code = 5
            log.error("the schema of the store does not fit this version of Posthorse; the worker ends")
        elif self._has_worked or code == AWAY:
            return
        elif code == UNUSABLE:
            self.shutdown.exit_code = 2
        else:
            self._failed_starts += 1
            if self._failed_starts < MAX_FAILED_STARTS:
                return
            self.shutdown.exit_code = 70
            log.error("no runner can begin, %d of them died before; the worker ends", self._failed_starts)
        self._stop.set()

    async def _pause_before_next(self, number: int, *, lived: float) -> None:
        if lived >= QUICK_DEATH:
            self._quick_deaths = 0
            return
        self._quick_deaths += 1
        pause = min(MAX_BACKOFF, 0.1 * 2**self._quick_deaths)
        log.info("starting runner %d again in %.1f s", number, pause)
        await self._stops_within(pause)

    async def _stops_within(self, seconds: float) -> bool:
        """Wait; return True as soon as the worker must stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True
