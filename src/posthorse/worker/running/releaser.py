"""The releaser: counts ends that the completer noted, and lets jobs go on that waited for them.

It works beside the next batch. If it fails, or this process dies, the sweep does the same.
"""

from __future__ import annotations

import asyncio
import logging

from posthorse.failpoints import failpoint
from posthorse.store.operations.releasing import release
from posthorse.store.store import Store

log = logging.getLogger("posthorse.worker")


class Releaser:
    """The releaser of one runner."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self._has_more = False

    def wake(self) -> None:
        """Count what was noted, soon."""
        self._has_more = True
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Wait until all that was noted is counted."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._has_more:
                self._has_more = False
                failpoint("before_release")
                while await self._store.arun(release()):
                    pass
        except Exception as error:
            log.warning("cannot let jobs go on that waited for others: %s; the sweep will", error)
        finally:
            self._task = None
