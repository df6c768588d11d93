"""Preflight: the last check before a job starts, for the jobs that need one.

It checks that the job has not expired, and that not as many parts of its job run as may at once. It fetches arguments
that are too long to be claimed along, and the results of earlier jobs that it takes.
"""

from __future__ import annotations

import logging

from posthorse.errors import StoreError
from posthorse.rules.outcomes import Expired, Lost, Outcome, Stopped
from posthorse.rules.packing import Packing
from posthorse.store.operations.read import arguments, lateness
from posthorse.store.operations.width import is_crowded
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")


async def preflight_check(store: Store, running: RunningJob, packing: Packing) -> Outcome | None:
    """Return the outcome of a job that may not start; None if it may, with its arguments loaded."""
    job, limit = running.claimed.job, running.expires
    try:
        if limit is not None and await _is_late(store, job, limit):
            return Expired()
        if running.options.is_part and await store.aread(is_crowded(job)):
            return Stopped("room")
        if running.claimed.arguments is None:
            found = await store.aread(arguments(job))
            if found is None:
                return Lost("its arguments are not in the store any more")
            running.claimed = running.claimed._replace(arguments=found)
        if running.inputs is not None:
            from posthorse.worker.running.inputs import fill_inputs  # here, because few jobs take results of others

            return await fill_inputs(store, running, running.inputs, packing)
    except StoreError as error:
        log.warning("%s is given back, because what it needs to begin cannot be read: %s", running.label, error)
        return Stopped("shutdown")
    return None


async def _is_late(store: Store, job: str, limit: float) -> bool:
    late = await store.aread(lateness(job))
    return late is not None and late > limit * 1_000_000
