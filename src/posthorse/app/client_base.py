"""The base of the client: what an application consists of, for the modules that each add a group of calls to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posthorse.app.bundle import Bundle
    from posthorse.app.client import Posthorse
    from posthorse.app.interception import Interception
    from posthorse.app.unserved_warnings import UnservedWarnings
    from posthorse.rules.registry import Registry
    from posthorse.rules.settings import Settings
    from posthorse.store.admission import Admission
    from posthorse.store.store import Store


class ClientBase(ABC):
    """What an application consists of. `Posthorse` makes it; its base classes declare, enqueue and listen with it."""

    settings: Settings
    registry: Registry
    store: Store
    gate: Admission
    unserved_warnings: UnservedWarnings
    bundles: list[Bundle]
    """The bundles that it includes."""

    interception: Interception | None = None
    """What a testing kit does about calls that enqueue."""

    @property
    @abstractmethod
    def _app(self) -> Posthorse:
        """Return the whole application, as each handle made by it holds it."""
