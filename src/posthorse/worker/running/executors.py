"""The executors of a runner: most kinds run in its own process, isolated ones in child processes."""

from __future__ import annotations

from posthorse.rules.registry import Registry
from posthorse.store.store import Store
from posthorse.worker.claiming.claim_values import ClaimedJob
from posthorse.worker.running.running_job import Executor, RunningJob


class Executors:
    """The two executors of one runner."""

    def __init__(
        self, registry: Registry, store: Store, runner: str, *, in_process: Executor, isolated: Executor
    ) -> None:
        self._registry = registry
        self._store = store
        self._runner = runner
        self._in_process = in_process
        self._isolated = isolated

    def prepare(self, job: ClaimedJob) -> RunningJob:
        """Make a claimed job ready to run on the executor of its kind."""
        kind = self._registry[job.lane.kind]
        executor = self._isolated if kind.is_isolated else self._in_process
        running = RunningJob(job.claimed, job.lane, kind, executor, job.queue)
        if running.options.flow is not None and running.options.flow.spreads is not None:
            from posthorse.worker.running.flow_map import spread_instead  # here, because few jobs spread lists

            spread_instead(running, self._store, self._runner, self._registry)
            running.executor = self._in_process
        running.gates = job.gates
        return running

    async def close(self) -> None:
        """Release the threads, and end the child processes."""
        await self._in_process.close()
        await self._isolated.close()
