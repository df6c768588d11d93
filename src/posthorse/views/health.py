"""How the conclusions of a probe are shown."""

from __future__ import annotations

from collections.abc import Sequence
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


class ProbeView(View, frozen=True, kw_only=True):
    """What the probe of a service found, in words that strangers may read."""

    ok: bool
    problem: str | None = None


class UnservedView(View, frozen=True, kw_only=True):
    """Jobs that no living worker would take."""

    queue: str
    kind: str
    waiting: int


class ServiceHealthView(View, frozen=True, kw_only=True):
    """Whether jobs are taken. ok: every job that waits would be taken by a living worker; workers: how many live."""

    ok: bool
    workers: int
    unserved: Sequence[UnservedView]
