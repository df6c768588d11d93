"""The in-process executor: runs async jobs on the runner's event loop, and plain functions in threads."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from posthorse.rules.middleware import Layer
from posthorse.rules.outcomes import Outcome
from posthorse.rules.registry import Registry
from posthorse.rules.throttle import Throttle, ThrottleFunction
from posthorse.store.operations.fence import Fence
from posthorse.store.store import Store
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.running.execution import FromThread, Surroundings, run
from posthorse.worker.running.preflight import preflight_check
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.threads import CallRunner, Threads


class InProcessExecutor:
    """The executor of jobs on the current event loop and its threads."""

    def __init__(
        self,
        store: Store,
        runner: str,
        registry: Registry,
        resources: ProcessResources,
        *,
        concurrency: int,
        longest_transaction: float,
        threads: CallRunner[FromThread] | None = None,
        outermost: Sequence[Layer] = (),
    ) -> None:
        """`threads`: what runs plain functions, in place of threads of its own. `outermost`: middleware around all."""
        self._store = store
        self._runner = runner
        self._middleware = registry.middleware
        self._outermost = tuple(outermost)
        self._packing = registry.packing
        self._longest_transaction = longest_transaction
        self._threads = threads or Threads[FromThread](concurrency)
        self._around = Surroundings(self._threads, store.where, resources, registry.packing, registry.combiners)

    def run(self, running: RunningJob) -> Coroutine[Any, Any, Outcome]:
        """Run a job to its outcome."""
        return self._check_and_run(running) if running.asks_first else self._run(running)

    async def _check_and_run(self, running: RunningJob) -> Outcome:
        return await preflight_check(self._store, running, self._packing) or await self._run(running)

    def _run(self, running: RunningJob) -> Coroutine[Any, Any, Outcome]:
        kind = running.kind
        if kind.needs_context:
            running.journal = Journal(
                self._store,
                Fence(running.claimed.job, running.claimed.epoch, self._runner),
                running.stop,
                lane=running.lane,
                longest_transaction=self._longest_transaction,
                failed=running.claimed.errors,
                texts=self._packing.of(running.claimed.job, running.options.tenant),
            )
            if running.queue.throttle is not None:
                running.journal.queue_throttle = running.queue.throttle
        running.heard = _hear
        middleware = self._middleware.around(kind.kind)
        if self._outermost:
            middleware = (*self._outermost, *middleware)
        return run(running, middleware, self._around)

    def throttle(self, running: RunningJob, throttle: Throttle | ThrottleFunction | None) -> None:
        """Let a running job obey the throttle that its queue has now."""
        if running.journal is not None and running.journal.queue_throttle is not throttle:
            running.journal.queue_throttle = throttle

    def end(self, running: RunningJob) -> bool:
        """Return False: neither a thread nor a coroutine that swallows its cancellation can be ended from outside."""
        return False

    async def close(self) -> None:
        """Let each thread end once its job has ended."""
        self._threads.close()


def _hear(running: RunningJob, is_urgent: bool) -> None:
    if is_urgent and running.task is not None and (running.kind.is_async or running.stop.is_awaited):
        running.task.cancel()
