"""The shutdown of a worker: runners drain within the grace; neither a job nor a store that is away delays the end.

This module starts no runner and rescues no job; it knows how long each part of the end may take.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from posthorse.clock import monotonic
from posthorse.processes.runner_process import RunnerProcess
from posthorse.store.store import Store
from posthorse.worker.base.process import AT_EXIT, end_at_once, end_gracefully
from posthorse.worker.base.trial_write import takes_writes
from posthorse.worker.running.process_life import STOP_WITHIN

T = TypeVar("T")
log = logging.getLogger("posthorse.worker")

LAST_WORDS = 5.0 + STOP_WITHIN + AT_EXIT
"""Seconds beyond the grace in which a runner may hand in outcomes, call `on_stop`, and run exit handlers."""

FIRST_LOOK, LOOK_INTERVAL = 2.0, 0.25
"""Seconds beyond the grace after which runners that a job blocks are ended, and between two looks from then on."""

MAX_SILENCE = 3.0
"""Seconds of silence after which a stopping runner counts as blocked by a job."""

MAX_RESCUE = 2.0
"""Seconds for rescuing the jobs of a runner after a second signal; the sweep does the rest."""

RESCUE_WITHIN = 1.5
"""Seconds without an answer after which a rescue is given up, once the worker stops."""

SHORT_PATIENCE = 0.5
"""The same if the store did not answer the runner either, and for signing off then."""

MAX_GOODBYE = 3.0
"""Seconds for signing off from the store and closing the application, once no runner is left."""

END_INTERVAL = 0.1
NO_RUNNER = str(uuid.UUID(int=0))


class Shutdown:
    """The end of one worker. `runners`: its runners by number. `grace`: seconds that running jobs get."""

    def __init__(self, store: Store, runners: Mapping[int, RunnerProcess], *, grace: float) -> None:
        self._store = store
        self._runners = runners
        self._grace = grace
        self._trial: asyncio.Task[bool] | None = None
        """A trial write that shows whether the store answers while the worker stops."""
        self.lives = 0
        """Runners that were started and whose jobs are not rescued yet."""
        self.exit_code = 0
        self.is_urgent = asyncio.Event()
        """Set by a second signal: runners are killed at once."""
        self.is_over = threading.Event()
        """Set by the owner once everything has ended."""

    async def drain(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Let runners end with their jobs; kill those that are left after the grace, or at a second signal."""
        threading.Thread(target=self._end_in_time, name="posthorse-end", daemon=True).start()
        for runner in self._runners.values():
            runner.control_pipe.send(drain=True)
        self._trial = asyncio.create_task(takes_writes(self._store, NO_RUNNER))
        until = monotonic() + self._grace + LAST_WORDS
        all_ended = asyncio.gather(*keepers)
        is_in_time = await self._ends_in_time(all_ended, self._grace + FIRST_LOOK)
        while not is_in_time and not self.is_urgent.is_set() and monotonic() < until:
            self._end_silent_runners()
            is_in_time = await self._ends_in_time(all_ended, LOOK_INTERVAL)
        if not is_in_time:
            log.warning("stopping at once")
            self._kill_all()
        await all_ended

    @property
    def is_unanswered(self) -> bool:
        """True if the store has not answered the trial write that began when the worker had to stop."""
        return self._trial is not None and (not self._trial.done() or self._trial.cancelled())

    def patience_of_rescue(self, *, runner_was_unanswered: bool) -> float:
        """Return the seconds without an answer after which a rescue is given up."""
        return SHORT_PATIENCE if runner_was_unanswered or self.is_unanswered else RESCUE_WITHIN

    def _end_silent_runners(self) -> None:
        """End runners that a job blocks, because they would live beyond the grace."""
        for runner in self._runners.values():
            if not runner.ended.is_set() and not runner.is_leaving and runner.silence > MAX_SILENCE:
                log.warning("runner %d is silent beyond the grace and ended: a job may block it", runner.number)
                runner.kill()

    def _kill_all(self) -> None:
        for runner in list(self._runners.values()):
            if not runner.ended.is_set():
                runner.kill()

    def _end_in_time(self) -> None:
        """Close in a thread of its own: a store that does not answer must not delay the end of this process."""
        deadline = monotonic() + self._grace + LAST_WORDS + MAX_RESCUE
        while not self.is_over.wait(END_INTERVAL):
            now = monotonic()
            if self.is_urgent.is_set():
                deadline = min(deadline, now + MAX_RESCUE + SHORT_PATIENCE)
            if not self.lives:
                deadline = min(deadline, now + (SHORT_PATIENCE if self.is_unanswered else MAX_GOODBYE))
            if now >= deadline:
                log.error("ending without the store, which does not answer; the leases of this worker run out")
                self._kill_all()
                if self.is_urgent.is_set():
                    end_at_once(self.exit_code)
                end_gracefully(self.exit_code)

    async def _ends_in_time(self, work: asyncio.Future[T], seconds: float | None) -> bool:
        """Wait for the work to end; return False if time ran out or a second signal came first."""
        told_twice = asyncio.create_task(self.is_urgent.wait())
        both: set[asyncio.Future[Any]] = {work, told_twice}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        told_twice.cancel()
        return work.done()
