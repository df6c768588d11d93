"""The emitter calls listeners, in the process and at the place where something happens.

It belongs to one application. Its store carries it, as the clock, so that application, worker and maintenance reach the
same one. A place that emits asks first whether any listener is there (`if emitter.started:`), so that an event without
listeners costs one look and is never built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from posthorse.rules.events import Ended, Heard, Rescued, SliceCommitted, Started, Submitted

E = TypeVar("E", bound=Heard)

Listener = Callable[[Any], object]
log = logging.getLogger("posthorse.events")


class Emitter:
    """Listeners by the type of event; each attribute is empty, and so false, without one."""

    __slots__ = ("_by_type", "_failed", "ended", "rescued", "slice_committed", "started", "submitted")

    def __init__(self) -> None:
        # Dicts, because threads may subscribe at once, and one step of a dict needs no lock.
        self.submitted: dict[Listener, None] = {}
        self.started: dict[Listener, None] = {}
        self.slice_committed: dict[Listener, None] = {}
        self.ended: dict[Listener, None] = {}
        self.rescued: dict[Listener, None] = {}
        self._by_type: dict[type[Heard], dict[Listener, None]] = {
            Submitted: self.submitted,
            Started: self.started,
            SliceCommitted: self.slice_committed,
            Ended: self.ended,
            Rescued: self.rescued,
        }
        self._failed: set[tuple[Listener, type[Heard]]] = set()
        """Listeners whose failure was logged, with the events at which they failed."""

    def subscribe(self, listener: Callable[[E], object], *events: type[E]) -> Callable[[], None]:
        """Call the listener at each event of these types; return a function that ends that."""
        for event in events:
            self._by_type[cast("type[Heard]", event)][listener] = None
        return lambda: self.unsubscribe(listener)

    def unsubscribe(self, listener: Callable[[E], object]) -> None:
        """End all subscriptions of the listener; do nothing if there are none."""
        for event, listeners in self._by_type.items():
            listeners.pop(listener, None)
            self._failed.discard((listener, event))

    def emit(self, event: Heard) -> None:
        """Call the listeners in their order. What one raises is logged once and has no other effect."""
        for listener in tuple(self._by_type[type(event)]):
            try:
                listener(event)
            except KeyboardInterrupt:  # the user's, not the listener's
                raise
            except BaseException:
                self._log_once(listener, event)

    def _log_once(self, listener: Listener, event: Heard) -> None:
        failed = listener, type(event)
        if failed not in self._failed:
            self._failed.add(failed)
            name = getattr(listener, "__qualname__", None) or repr(listener)
            log.exception(
                "listener %s failed at %s; it is called again, and its failures there are not logged any more",
                name,
                type(event).__name__,
            )
