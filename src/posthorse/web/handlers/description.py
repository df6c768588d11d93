"""The description of the API, for programs that make clients and for people."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from posthorse.web.access import Permission, Scope
from posthorse.web.openapi import describe
from posthorse.web.route import JSON, Answer, AnyRoute, Asked, NoQuery, Route


async def read_description(asked: Asked[NoQuery, None]) -> Answer:
    """Describe the API. It shows nothing of a store, so it asks for no login."""
    return Answer(_described(asked.root), media_type=JSON)


@lru_cache(maxsize=16)
def _described(root: str) -> bytes:
    """Return the description as JSON, which takes long to make, and anybody may ask for."""
    from posthorse.web.routes import ROUTES as EVERY_ROUTE  # here, because the table has this route, too

    return msgspec.json.encode(describe(EVERY_ROUTE, root=root))


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
