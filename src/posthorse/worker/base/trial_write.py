"""A write that any runner may make, to learn whether the store takes writes."""

from __future__ import annotations

import logging

from posthorse.store.operations.runners import set_idle
from posthorse.store.store import Store

log = logging.getLogger("posthorse.worker")


async def takes_writes(store: Store, runner: str) -> bool:
    """Return whether the store takes a write that any runner may make."""
    try:
        await store.arun(set_idle(runner, idle=False))
    except Exception as error:
        log.debug("the store takes nothing else either: %s", error)
        return False
    return True
