"""Long arguments enter a runner here, when their job begins; those of a job that waits for a slot stay in the store."""

from __future__ import annotations

import logging

from posthorse.errors import StoreError
from posthorse.rules.lifecycle import Lost, Stopped
from posthorse.store.operations.read import arguments
from posthorse.store.store import Store
from posthorse.worker.running import Running

log = logging.getLogger("posthorse.worker")


async def bring_arguments(store: Store, running: Running) -> Lost | Stopped | None:
    """Gives a job the arguments that its claim did not bring along. What it comes to where they cannot be read."""
    try:
        found = await store.aread(arguments(running.claimed.job))
    except StoreError as error:
        log.warning("job %s is given back, for its arguments cannot be read: %s", running.claimed.job, error)
        return Stopped("shutdown")
    if found is None:
        return Lost("its arguments are not in the store any more")
    running.claimed = running.claimed._replace(arguments=found)
    return None
