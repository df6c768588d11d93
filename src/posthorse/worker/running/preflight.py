"""The threshold: what only the store knows is asked at the last moment before a job begins, of those that need it.

Whether a job comes too late, and arguments that its claim left behind because they are long.
"""

from __future__ import annotations

import logging

from posthorse.errors import StoreError
from posthorse.rules.lifecycle import Expired, Lost, Outcome, Stopped
from posthorse.store.operations.read import arguments, lateness
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")


async def preflight_check(store: Store, running: RunningJob) -> Outcome | None:
    """What a job comes to that may not begin; None for one that may, with its arguments."""
    job, limit = running.claimed.job, running.expires
    try:
        if limit is not None and await _is_late(store, job, limit):
            return Expired()
        if running.claimed.arguments is None:
            found = await store.aread(arguments(job))
            if found is None:
                return Lost("its arguments are not in the store any more")
            running.claimed = running.claimed._replace(arguments=found)
    except StoreError as error:
        log.warning("%s is given back, because what it needs to begin cannot be read: %s", running.label, error)
        return Stopped("shutdown")
    return None


async def _is_late(store: Store, job: str, limit: float) -> bool:
    late = await store.aread(lateness(job))
    return late is not None and late > limit * 1_000_000
