"""How a kind of job is shown: what it is called, and which arguments it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from posthorse.rules.registry import Registered
from posthorse.views.base import View


class KindView(View, frozen=True, kw_only=True):
    """A kind of job. arguments: a JSON Schema of them; null if only workers know the kind."""

    kind: str
    description: str | None
    queue: str | None
    priority: int | None
    max_attempts: int | None
    arguments: Mapping[str, Any] | None

    @classmethod
    def of(cls, registered: Registered) -> Self:
        """Show a kind of the application."""
        options = registered.options
        return cls(
            kind=registered.kind,
            description=registered.function.__doc__,
            queue=options.queue,
            priority=options.priority,
            max_attempts=options.max_attempts,
            arguments=registered.signature.schema(),
        )

    @classmethod
    def of_worker(cls, kind: str) -> Self:
        """Show a kind that only workers know."""
        return cls(kind=kind, description=None, queue=None, priority=None, max_attempts=None, arguments=None)


class KindsView(View, frozen=True, kw_only=True):
    """All kinds, by name."""

    kinds: Sequence[KindView]
