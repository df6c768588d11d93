"""What a testing kit puts between an application and its store. Without a kit there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from posthorse.app.verbs import Verb
from posthorse.store.connections import UserConnection


class Interception(Protocol):
    """What happens to calls that enqueue, as far as it differs from production."""

    def postpones(self, connection: UserConnection, store: Callable[[], object]) -> bool:
        """Return whether the kit calls `store` once the transaction commits; if not, the store joins that."""
        ...

    def after_enqueue(self) -> Verb[None]:
        """Do what must happen before the call returns."""
        ...
