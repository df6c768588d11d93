"""Probes: whether the process lives, and whether it can serve. They ask for no login and show nothing of jobs."""

from __future__ import annotations

import logging

from posthorse.errors import PosthorseError
from posthorse.store.operations.queues import live_layers
from posthorse.store.patience import waiting_at_most
from posthorse.views.health import ProbeView
from posthorse.web.access import Permission, Scope
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route

MAX_WAIT = 0.7
"""Seconds that a probe waits for the store: Kubernetes gives a probe one second unless it is told otherwise."""

log = logging.getLogger("posthorse.web")


async def livez(asked: Asked[NoQuery, None]) -> Answer:
    """Tell that the process lives: that it answers shows it."""
    return Answer(ProbeView(ok=True))


async def readyz(asked: Asked[NoQuery, None]) -> Answer:
    """Tell whether the service can serve: it does not stop, and its store can be read."""
    if asked.waits.is_stopping:
        return Answer(ProbeView(ok=False, problem="the service is stopping"), 503)
    try:
        with waiting_at_most(MAX_WAIT):
            await asked.app.store.alook(live_layers(), deadline=MAX_WAIT)
    except PosthorseError as error:
        log.warning("the service is not ready: %s", error)
        return Answer(ProbeView(ok=False, problem="the store cannot be read; see the log of the service"), 503)
    return Answer(ProbeView(ok=True))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/livez",
        handler=livez,
        summary="Whether the process lives",
        needs=Permission.NOTHING,
        scope=Scope.PROCESS,
        query=NoQuery,
        body=type(None),
        answers={200: ProbeView},
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=readyz,
        summary="Whether the service can serve",
        needs=Permission.NOTHING,
        scope=Scope.PROCESS,
        query=NoQuery,
        body=type(None),
        answers={200: ProbeView, 503: ProbeView},
    ),
)
