"""Whether a job comes too late to be started. Costs a look into the store, for jobs with `expires` alone."""

from __future__ import annotations

from posthorse.errors import StoreError
from posthorse.rules.lifecycle import Expired, Lost
from posthorse.store.operations.read import lateness
from posthorse.store.store import Store
from posthorse.worker.running import Running


async def expired(store: Store, running: Running) -> Expired | Lost | None:
    """What the job comes to when it was not started in time; None when it is to run."""
    limit = running.options.expires or running.kind.options.expires
    if limit is None:
        return None
    try:
        late = await store.aread(lateness(running.claimed.job))
    except StoreError as error:  # as where the store goes away under a job
        return Lost(str(error))
    return Expired() if late is not None and late > limit * 1_000_000 else None
