"""Warn a starting worker of kinds that a living worker of another application runs under the same name."""

from __future__ import annotations

import logging

from posthorse.errors import PosthorseError
from posthorse.rules.namesakes import Serving, namesakes
from posthorse.store.operations.read import workers
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")


async def tell_of_namesakes(store: Store, mine: Serving, *, lease: float) -> None:
    """Log each of them once. If the lookup fails, `posthorse doctor` can still report them."""
    if not mine.places:
        return
    try:
        rows = await store.aread(workers())
    except PosthorseError as error:
        log.info("cannot look for kinds of the same name: %s", error)
        return
    living = [
        Serving(row.worker, row.queues, row.places)
        for row in rows
        if row.silent_for <= lease * 1_000_000 and not row.is_draining
    ]
    told: set[tuple[str, str]] = set()
    for found in namesakes(mine, living):
        if (found.kind, found.other_place) not in told:
            told.add((found.kind, found.other_place))
            log.warning(
                "kind %s is %s here and %s in worker %s, so each may run the other's jobs. Two applications that "
                "share a store need different names, queues or schemas; where the function was moved, this ends with "
                "the deploy",
                found.kind,
                found.place,
                found.other_place,
                found.other_worker,
            )
