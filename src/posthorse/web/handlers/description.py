"""The description of the API, for programs that make clients and for people."""

from __future__ import annotations

from typing import Any

from posthorse.web.access import Permission, Scope
from posthorse.web.openapi import describe
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route


async def read_description(asked: Asked[NoQuery, None]) -> Answer:
    """Describe the API. It shows nothing of a store, so it asks for no login."""
    from posthorse.web.routes import ROUTES as EVERY_ROUTE  # here, because the table has this route, too

    return Answer(describe(EVERY_ROUTE, root=asked.root))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/api/v1/openapi.json",
        handler=read_description,
        summary="Describe the API",
        needs=Permission.NOTHING,
        scope=Scope.PROCESS,
        query=NoQuery,
        body=type(None),
        answers={200: dict[str, Any]},
    ),
)
