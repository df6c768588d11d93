"""Whether a job comes too late to be started. Costs a look into the store, for jobs with `expires` alone."""

from __future__ import annotations

import logging

from posthorse.errors import StoreError
from posthorse.rules.lifecycle import Expired, Stopped
from posthorse.store.operations.read import lateness
from posthorse.store.store import Store
from posthorse.worker.running import Running

log = logging.getLogger("posthorse.worker")


async def expired(store: Store, running: Running) -> Expired | Stopped | None:
    """What the job comes to when it was not started in time; None when it is to run."""
    limit = running.options.expires or running.kind.options.expires
    if limit is None:
        return None
    try:
        late = await store.aread(lateness(running.claimed.job))
    except StoreError as error:
        log.warning("job %s is given back, for nobody can tell whether it is late: %s", running.claimed.job, error)
        return Stopped("shutdown")
    return Expired() if late is not None and late > limit * 1_000_000 else None
