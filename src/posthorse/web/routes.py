"""The table of routes: the source of routing, access, the description of the API, and tests."""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.web.handlers import bulk, description, jobs, overview, probes, queues, schedules, steering, submit
from posthorse.web.route import AnyRoute

ROUTES: Sequence[AnyRoute] = (
    *submit.ROUTES,
    *bulk.ROUTES,
    *jobs.ROUTES,
    *steering.ROUTES,
    *queues.ROUTES,
    *schedules.ROUTES,
    *overview.ROUTES,
    *probes.ROUTES,
    *description.ROUTES,
)
