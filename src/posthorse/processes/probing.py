"""Probes that a supervisor answers about its own worker: whether it lives, and whether it takes jobs.

They conclude as `posthorse health` does (`rules/health`), from a look at the store that is at most a moment old. That a
supervisor answers at all shows that its process runs. Anyone who reaches the pages reads the conclusions, so errors of
the store, which name hosts and roles, are in the log alone.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection

from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
from posthorse.rules.health import Health, Process, RegisteredRunner, StoreFound, of_worker
from posthorse.store.operations.runners import RunnerSeen, runners_of
from posthorse.store.patience import Patience, wait_as
from posthorse.store.store import Store

LOOK_INTERVAL = 1.0
"""Seconds after which the next probe looks at the store again."""

MAX_WAIT = 0.7
"""Seconds that a probe waits for the store: Kubernetes gives a probe one second unless it is told otherwise."""

MAX_LOOK = 5.0
"""Seconds after which a look is ended."""

UNREADABLE = "the store cannot be read; see the log of the worker"

log = logging.getLogger("posthorse.worker")


class Probing:
    """The probes of one worker. `pids`: the processes of its runners. `is_stopping`: whether it takes no more jobs."""

    def __init__(
        self, store: Store, worker: str, pids: Callable[[], Collection[int]], is_stopping: Callable[[], bool]
    ) -> None:
        self._store = store
        self._worker = worker
        self._pids = pids
        self._is_stopping = is_stopping
        self._due_at = 0.0
        self._look: asyncio.Task[None] | None = None
        self._found = StoreFound(None, "the store was not looked at yet")
        self._seen: list[RunnerSeen] | None = None
        self._failed: type[Exception] | None = None
        """How the last look failed; None if it did not."""

    async def health(self) -> Health:
        """Conclude. All probes of a moment share one look."""
        if self._look is None and monotonic() >= self._due_at:
            self._look = asyncio.create_task(self._look_at_store())
        if self._look is not None:
            await asyncio.wait({self._look}, timeout=MAX_WAIT)
        if self._look is not None:
            late = StoreFound(None, f"the store gave no answer within {MAX_WAIT:g} s")
            return of_worker(late, Process.RUNNING, None)
        return of_worker(self._found, Process.RUNNING, self._beats())

    async def _look_at_store(self) -> None:
        wait_as(Patience(MAX_LOOK))
        try:
            self._seen = await self._store.alook(
                runners_of(worker=self._worker, host=socket.gethostname()), deadline=MAX_LOOK
            )
            self._found = StoreFound(None)
            self._failed = None
        except Exception as error:  # a driver may raise anything, and a probe that failed must not pass for a good one
            self._seen = None
            self._found = StoreFound(None, UNREADABLE)
            self._log_once(error)
        finally:
            self._due_at = monotonic() + LOOK_INTERVAL
            self._look = None

    def _log_once(self, error: Exception) -> None:
        """Log why a look failed, unless the one before failed in the same way."""
        if self._failed is not type(error):
            is_unexpected = not isinstance(error, PosthorseError)
            log.warning("probes of this worker cannot read the store: %s", error, exc_info=is_unexpected)
        self._failed = type(error)

    def _beats(self) -> list[RegisteredRunner] | None:
        if self._seen is None:
            return None
        pids = self._pids()
        return [
            RegisteredRunner(bool(one.is_alive), bool(one.is_draining) or self._is_stopping())
            for one in self._seen
            if one.worker == self._worker and one.pid in pids
        ]
