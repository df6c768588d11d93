"""How the conclusions of a probe are shown."""

from __future__ import annotations

from typing import Self

from posthorse.rules.health import Health
from posthorse.views.base import View


class HealthView(View, frozen=True, kw_only=True):
    """What a probe found. ok: what it was asked. live and ready are null if no worker was named, or nothing tells."""

    ok: bool
    store: str
    usable: bool
    schema: int | None
    live: bool | None
    ready: bool | None
    problems: tuple[str, ...]

    @classmethod
    def of(cls, health: Health, *, is_ok: bool, where: str, schema: int | None) -> Self:
        """Show conclusions about a store and a worker."""
        return cls(
            ok=is_ok,
            store=where,
            usable=health.store,
            schema=schema,
            live=health.live,
            ready=health.ready,
            problems=tuple(health.problems),
        )
