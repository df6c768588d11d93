"""The request poller: running jobs learn within a second what is requested of them, and that their queue has closed;
jobs that ignore a cancel or their timeout are ended.

It knows which jobs run, and nothing about what follows from their end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from posthorse.clock import monotonic
from posthorse.store.operations.runners import requests_for, still_held
from posthorse.store.store import Store
from posthorse.worker.base.live_queues import LiveQueues
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")


class RequestPoller:
    """The request poller of one runner.

    patience: seconds that a job gets to obey a cancel or its timeout.
    obeys_windows: whether jobs leave when their queue closes; not the one that a user runs by hand.
    """

    def __init__(
        self,
        store: Store,
        runner: str,
        jobs: Mapping[str, RunningJob],
        queues: LiveQueues,
        *,
        patience: float,
        obeys_windows: bool = True,
    ) -> None:
        self._store = store
        self._runner = runner
        self._jobs = jobs
        self._queues = queues
        self._obeys_windows = obeys_windows
        self._patience = patience
        self.interval = store.tuning.request_interval
        """Seconds between two polls."""

    async def hear(self) -> int:
        """Pass on what users requested, and which queues have closed; learn how queues were changed, and who watches
        the stream. Return the store's clock, in microseconds.
        """
        asked, changes, now = await self._store.aread(requests_for(self._runner))
        await self._queues.update(changes)
        closed: Mapping[str, str] = self._queues.closed_by_window(now) if self._obeys_windows else {}
        for job, running in list(self._jobs.items()):
            if running.has_checkpoints:
                running.executor.throttle(running, self._queues.settings(running.lane.queue).throttle)
            request = asked.get(job)
            if request == "cancel":
                running.cancel()
            elif request is not None:
                running.ask(request)
            else:
                running.withdraw("pause")
                self._tell_of_window(running, closed)
        return now

    def _tell_of_window(self, running: RunningJob, closed: Mapping[str, str]) -> None:
        """Let a job leave that can, if its queue is closed; let it go on if the queue opened again before it left."""
        why = closed.get(running.lane.queue)
        if why is None:
            running.withdraw("window")
        elif running.has_checkpoints:
            running.ask("window", why)

    async def miss_lost_leases(self) -> None:
        """Stop jobs whose lease was taken away, as by a forced stop: whatever they do no longer counts."""
        long_ago = monotonic() - self.interval
        attempts = [running for running in self._jobs.values() if running.began < long_ago]
        if not attempts:
            return
        looked_at = [(one.claimed.job, one.claimed.epoch) for one in attempts]
        held = await self._store.aread(still_held(self._runner, looked_at))
        for one in attempts:
            if one.claimed.job not in held and self._jobs.get(one.claimed.job) is one:
                one.lose()

    def end_what_does_not_obey(self) -> list[RunningJob]:
        """End jobs by force that were cancelled or took too long; return those that could not be ended."""
        now = monotonic()
        beyond: list[RunningJob] = []
        for running in list(self._jobs.values()):
            verdict = running.overdue(now, self._patience)
            if verdict is None or running.verdict is not None:
                continue
            running.verdict = verdict
            if running.executor.end(running):
                log.warning("%s did not end when it was to; its process is killed", running.label)
            else:
                log.error("%s did not end when it was to, and counts as ended; its code still runs", running.label)
                beyond.append(running)
        return beyond
