"""What a runner tells the stream, while it is watched: that attempts began. Ends are told where they are written.

Ten times a second one block tells of what began since and still runs. What began and completed in between is told in
the commit of its completion. While nothing watches, this waits, and a job pays for a look at completion.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from posthorse.clock import until_tick
from posthorse.errors import OutcomeUnknown, PosthorseError
from posthorse.failpoints import failpoint
from posthorse.store.operations.telling import NOTHING, Told, tell_started
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")


class Telling:
    """Tells of the jobs of one runner. `running`: those that run now."""

    def __init__(self, store: Store, runner: str, running: Mapping[str, RunningJob]) -> None:
        self._store = store
        self._runner = runner
        self._running = running
        self._interval = store.tuning.telling_interval
        self._resting = store.tuning.request_interval

    async def tell_forever(self) -> None:
        """Tell of starts until cancelled."""
        while True:
            await asyncio.sleep(until_tick(self._interval if self._store.watched.started else self._resting))
            if self._store.watched.started:
                await self.tell_of(list(self._running.values()))

    async def tell_of(self, jobs: Sequence[RunningJob]) -> None:
        """Tell that these jobs began, unless that was told.

        If the store does not take it, a later call tells of it, or the commit that completes the job, if it has not
        been handed over meanwhile. If it is unknown whether the store took it, nothing tells of it again.
        """
        kinds = self._store.watched.started
        began = [job for job in jobs if not job.is_told and job.lane.kind in kinds]
        if not began:
            return
        for job in began:
            job.is_told = True  # before the wait: an end in the meantime must not tell of it again
        try:
            failpoint("before_telling")
            await self._store.arun(tell_started(self._runner, [(job.claimed.job, job.attempt) for job in began]))
        except OutcomeUnknown as error:
            log.warning("it is unknown whether the stream was told that %d jobs began: %s", len(began), error)
        except PosthorseError as error:
            _tell_later(began)
            log.warning("cannot tell the stream that %d jobs began: %s", len(began), error)
        except Exception:
            _tell_later(began)
            log.exception("cannot tell the stream that %d jobs began", len(began))

    def of_completed(self, jobs: Sequence[RunningJob]) -> Told:
        """Return what the commit tells that completes these jobs."""
        watched = self._store.watched
        started: dict[str, int] = {}
        completed: dict[str, int] = {}
        for job in jobs:
            if not job.is_told and job.lane.kind in watched.started:
                started[job.claimed.job] = job.attempt
            if job.lane.kind in watched.completed:
                completed[job.claimed.job] = job.attempt
        return Told(started, completed) if started or completed else NOTHING


def _tell_later(jobs: Sequence[RunningJob]) -> None:
    for job in jobs:
        job.is_told = False
