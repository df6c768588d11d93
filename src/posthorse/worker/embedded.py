"""The embedded worker, inside an application or a test: the same job loop, in a thread of this process.

It has no supervisor. Heartbeats come from another thread, but a job that holds the interpreter lock for longer than the
lease loses it. The job is then retried; the fence refuses what its first run still writes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from posthorse.clock import monotonic
from posthorse.errors import InvalidCall, InvalidOption, SchemaMismatch, StoreError
from posthorse.maintenance.namesakes import tell_of_namesakes
from posthorse.rules.job import checked_name
from posthorse.rules.labels import as_labels
from posthorse.rules.namesakes import Serving
from posthorse.rules.registry import Registry
from posthorse.rules.settings import Settings
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.runners import Runner, register
from posthorse.store.patience import STOPPING_WAIT, wait_as, worker_waiting
from posthorse.store.store import Store
from posthorse.worker.assembly import begin_maintenance, make_heart, make_job_loop, make_runner
from posthorse.worker.base.event_loop import run_to_end
from posthorse.worker.base.loggers import keep_loggers
from posthorse.worker.base.unanswered_calls import ANSWER_WITHIN, comes_within, ends_once_told, in_a_thread
from posthorse.worker.base.user_process_loop import UnjoinedThreads, close_in_time
from posthorse.worker.claiming.one_job import OneJob
from posthorse.worker.heartbeat import Heart, Pulse, retire_quietly
from posthorse.worker.isolation.code_location import check_may_work
from posthorse.worker.metrics import Meter, WorkerMetrics
from posthorse.worker.running.job_loop import JobLoop
from posthorse.worker.running.process_life import STOP_WITHIN, ProcessLife
from posthorse.worker.running.process_resources import ProcessResources

log = logging.getLogger("posthorse.worker")

LAST_WORDS = 1.0
"""Seconds that tasks and threads which jobs left behind get to end."""

SHORT_PATIENCE = 0.1
"""Seconds that a store gets to answer if it did not answer before."""

FIRST_LOOK = 2.5
"""Seconds beyond the grace after which the caller leaves the block if a job blocks the worker's event loop."""

MAX_TURN = 0.5
"""Seconds without a turn after which a loop counts as blocked."""

MAX_END = 6.0 + STOP_WITHIN
"""More seconds to wait if the loop is not blocked, for child processes that the application's exit handlers delay."""


class EmbeddedWorker:
    """A worker that runs jobs from entering its block to leaving it.

    Leaving drains: running jobs end or stop at a checkpoint.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        *,
        queues: Sequence[str],
        concurrency: int,
        labels: Mapping[str, str] | None = None,
        only: OneJob | None = None,
        measures: bool = False,
    ) -> None:
        _check_is_list(queues)
        self._store = store
        self._registry = registry
        self._settings = settings
        self._queues = tuple(checked_name(queue, what="queue") for queue in queues)
        self._concurrency = checked_concurrency(concurrency)
        self._labels = as_labels(labels or {})
        self._only = only
        self._meter = Meter() if measures else None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: asyncio.Event
        """Set on the loop once the worker must stop."""
        self._work: JobLoop | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._is_stopping = False
        self.start_failed_in: str | None = None
        """The function of `on_start` that raised, so that entering the block raised it."""
        self.is_unanswered = False
        """True when the store did not answer at the end."""
        self._waiting = worker_waiting(settings.store_timeout)

    def __enter__(self) -> Self:
        check_may_work()
        if self._thread is not None:
            raise InvalidCall("this worker works already; make another with app.worker()")
        keep_loggers()
        thread = threading.Thread(target=self._run, name="posthorse-worker", daemon=True)
        try:
            thread.start()
            self._thread = thread
            self._started.wait()
        except BaseException:  # Ctrl-C: the block is not entered, so it is not left either
            self.stop()
            raise
        if self._failure is not None:
            thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._join()
        if self._failure is not None:
            raise self._failure

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    @property
    def metrics(self) -> WorkerMetrics:
        """What the worker has counted so far. Raises InvalidCall for a worker that counts nothing."""
        if self._meter is None:
            raise InvalidCall("this worker counts nothing; make it with app.worker(metrics=True)")
        return self._meter.metrics(running=0 if self._work is None else self._work.running_count)

    def stop(self) -> None:
        """Claim no more jobs, and return at once; running jobs end meanwhile."""
        self._is_stopping = True
        self._waiting.hurry(STOPPING_WAIT)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hear_stop)

    def has_ended(self, timeout: float = 0) -> bool:
        """Return whether the worker has ended completely; wait at most `timeout` seconds for that."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _join(self) -> None:
        """Wait for the end, unless a job blocks the loop beyond the grace, or something else delays it for long."""
        is_over = self.has_ended(self._settings.grace + FIRST_LOOK)
        is_over = is_over or (not self._is_blocked() and self.has_ended(MAX_END))
        if not is_over:
            log.error(
                "a job blocks the event loop of this worker beyond the grace; the block is left while it still runs"
            )

    def _is_blocked(self) -> bool:
        turned = threading.Event()
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # the loop was closed meanwhile
            return False
        return not turned.wait(MAX_TURN)

    def _run(self) -> None:
        try:
            loop, threads = _steady_loop(), UnjoinedThreads()
            loop.set_default_executor(threads)
            try:
                with self._measuring():
                    run_to_end(loop, self._main())
            finally:
                close_in_time(loop, threads, 0 if self.is_unanswered else LAST_WORDS)
        except BaseException as error:
            if self._started.is_set():  # else entering the block raises it
                log.critical("the worker ended: %r; leaving its block raises this", error)
            self._failure = error
        finally:
            self._started.set()

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        if self._meter is None:
            yield
            return
        with self._meter.listening(self._store.emitter):
            yield
        log.info("this worker ended: %s", self._meter.metrics(running=0).in_words())

    async def _main(self) -> None:
        wait_as(self._waiting)
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._is_stopping:
            self._told.set()
        life = ProcessLife(self._registry.process_hooks, self._store.tuning)
        try:
            await life.start()
        finally:
            self.start_failed_in = life.failed_in
        try:
            while await self._work_until_lost(life.resources):
                log.warning("this worker was given up for dead, as after a long sleep of its machine; it begins anew")
        finally:
            await life.stop()

    def _hear_stop(self) -> None:
        self._told.set()
        if self._work is not None:
            self._work.stop()

    async def _work_until_lost(self, resources: ProcessResources) -> bool:
        """Work as one incarnation; return True if its lease was lost before it had to stop."""
        runner = make_runner(
            self._registry,
            queues=self._queues,
            labels=[f"{name}={value}" for name, value in self._labels.items()],
            concurrency=self._concurrency,
            worker=f"{socket.gethostname()}:embedded",
            release=self._settings.release or None,
        )
        if self._meter is not None:
            self._meter.runners.add(runner.id)
        settings = self._settings
        pulse = Pulse(runner.id, settings.lease, running=lambda: work.running_count)
        work = make_job_loop(
            self._store, self._registry, settings, runner, resources, only=self._only, lost=lambda: pulse.is_lost
        )
        if not await self._enters(runner, pulse):
            self.is_unanswered = True
            return False
        self._work = work
        if self._is_stopping:
            work.stop()
        heart = make_heart(self._store, settings)
        heart.add(pulse)
        heart.start()
        is_alone = self._only is not None
        maintaining = begin_maintenance(self._store, self._registry, settings, runner.id, is_alone=is_alone)
        looks_for_namesakes = not is_alone and not self._started.is_set()
        mine = Serving(runner.worker, runner.queues, runner.places if looks_for_namesakes else {})
        looking = asyncio.create_task(tell_of_namesakes(self._store, mine, lease=settings.lease))
        self._started.set()
        try:
            await work.run()
        finally:
            heart.drop(runner.id)
            tasks = (*maintaining, looking)
            for task in tasks:
                task.cancel()
            # Unanswered calls are completed when the store answers again, if this process is still alive then.
            within = SHORT_PATIENCE if work.is_unanswered else ANSWER_WITHIN
            self.is_unanswered = not await comes_within(within, self._sign_off(heart, runner, tasks))
        return work.is_lost and not self._is_stopping

    async def _sign_off(self, heart: Heart, runner: Runner, tasks: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.gather(retire_quietly(self._store, runner.id), in_a_thread(heart.stop))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _enters(self, runner: Runner, pulse: Pulse) -> bool:
        """Register as a runner; return False if the worker had to stop before the store answered."""
        entering = asyncio.create_task(self._enter(runner, pulse))
        try:
            if await ends_once_told(entering, self._told):
                entering.result()
                return True
        finally:
            entering.cancel()
        return False

    async def _enter(self, runner: Runner, pulse: Pulse) -> None:
        """Register as a runner. A later incarnation waits for a store that is away; the first one raises."""
        settings = self._settings
        while True:
            sent = monotonic()
            try:
                await self._store.arun(register(runner, lease=round(settings.lease * 1_000_000)))
            except StoreError as error:
                if not self._started.is_set() or self._is_stopping or isinstance(error, SchemaMismatch):
                    raise
                log.warning("cannot begin anew: %s", error)
                await asyncio.sleep(settings.poll)
            else:
                return pulse.renew(sent + settings.lease)


def _steady_loop() -> asyncio.AbstractEventLoop:
    """Make a loop whose timers go on while a test freezes `time.monotonic`."""
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop):  # others, such as uvloop's, have clocks of their own
        loop.time = monotonic  # type: ignore[method-assign]  # of this loop alone, whichever class it has
    return loop


def _check_is_list(queues: object) -> None:
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        raise InvalidOption(f'queues is {short(queues)}; give a list of names, such as ["mail"]')


def checked_concurrency(value: object) -> int:
    """Return a whole number from 1 to 10,000. Raises InvalidOption."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000:
        return value
    raise InvalidOption(f"concurrency is {short(value)}; it must be a whole number from 1 to 10,000")
