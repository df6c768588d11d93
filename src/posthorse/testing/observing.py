"""Observers of events in a test: they watch from its beginning, and a drain notifies them."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from posthorse.app.client import Posthorse
from posthorse.maintenance.event_observers import EventObservers
from posthorse.store.operations.telling import learn, queues_and_watchers

T = TypeVar("T")

KEEP = 10 * 365 * 86_400.0
"""Seconds that a watch holds: time may leap in a test."""


class Observing:
    """What notifies the observers of the applications of a kit. An application without observers pays nothing."""

    def __init__(self) -> None:
        self.by_app: dict[Posthorse, EventObservers] = {}
        self._watched: dict[Posthorse, frozenset[str]] = {}

    def watch(self, apps: Sequence[Posthorse]) -> None:
        """Let all observers that are declared by now watch what happens."""
        has_more = False
        for app in apps:
            names = frozenset(app.registry.event_observers)
            if names == self._watched.get(app, frozenset()):
                continue
            registry = app.registry
            observers = EventObservers(
                app.store, registry.event_observers, registry.queues, registry.packing, keep=KEEP
            )
            _at_once(observers.watch())
            self.by_app[app], self._watched[app] = observers, names
            has_more = True
        for app in apps if has_more else ():  # several applications may share a store
            learn(app.store.watched, app.store.read(queues_and_watchers()))

    def forget(self) -> None:
        """Forget all, because the stores of the test are no more."""
        self.by_app.clear()
        self._watched.clear()


def _at_once(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, as with a store whose coroutines do not, inside an event loop, too."""
    try:
        steps.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returns
    steps.close()
    raise RuntimeError("a coroutine of a test's store waited")
