"""Requests that wait until a job is over. They end early when the service stops, so that it need not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from posthorse.app.reading import end_of
from posthorse.app.verbs import adrive
from posthorse.clock import monotonic

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.reading import Finished

MAX_WAIT = 60
"""Seconds that a request may wait; one that asks for more waits so long."""


class Waits:
    """The requests of one service that wait."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._tasks: set[asyncio.Task[Collection[str]]] = set()

    def stop(self) -> None:
        """End all waits now, and later ones at once."""
        self.is_stopping = True
        for task in self._tasks:
            task.cancel()

    async def outcome(self, app: Posthorse, job_id: str, seconds: float) -> Finished | None:
        """Wait so long for the end of a job; return how it ended, or None. Raises JobNotFound, ResultExpired."""
        ends_at = monotonic() + min(seconds, MAX_WAIT)
        while True:
            finished = await adrive(end_of(app, job_id))
            left = ends_at - monotonic()
            if finished is not None or left <= 0 or self.is_stopping:
                return finished
            await self._until_end(app, job_id, left)

    async def end(self, app: Posthorse, job_id: str, seconds: float) -> None:
        """Wait so long for the end of a job, or until the time is over."""
        await self._until_end(app, job_id, min(seconds, MAX_WAIT))

    async def _until_end(self, app: Posthorse, job_id: str, seconds: float) -> None:
        if self.is_stopping:
            return
        task = asyncio.ensure_future(app.store.await_end((job_id,), seconds))
        self._tasks.add(task)
        try:
            await asyncio.wait({task})  # unlike `await task`, it is not cancelled together with the task
        finally:
            self._tasks.discard(task)
            if not task.done():
                task.cancel()
            elif not task.cancelled():
                task.result()
