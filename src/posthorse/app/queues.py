"""Queues as an application holds them: declared in code, and changed live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from posthorse.app.signatures import takes
from posthorse.app.verbs import Verb, adrive, commit, drive, look_up, twin, verb
from posthorse.clock import monotonic
from posthorse.errors import QueueFull
from posthorse.rules.options.table import Place
from posthorse.rules.queues import Layer, QueueSettings, checked_live_layer, checked_words, settings_of
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.gates import loosen_gates
from posthorse.store.operations.queues import change_queue, live_layers, reset_queue

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.options import QueueOptions

LIMITS = frozenset({"rate", "concurrency"})
MIN_PAUSE, MAX_PAUSE = 0.01, 0.25
"""Seconds between two tries to enter a full queue."""


class Queue:
    """A queue, by its name. What is set here holds at once, on every machine, until somebody resets it.

    Each call but `settings` is one commit; running workers hear of it within a second. Those with an `a` in front are
    for coroutines.
    """

    def __init__(self, app: Posthorse, name: str) -> None:
        self._app = app
        self.name = name

    @verb
    def settings(self) -> Verb[QueueSettings]:
        """Read what holds now: what code and file say, and above it what was set live."""
        live = yield from look_up(self._app, live_layers())
        return settings_of(self._app.registry.queues.layer(self.name), live.get(self.name, {}))

    asettings = twin(settings)

    @takes(Place.QUEUE)  # both declared, because editors show an option's line only there
    def set(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to what code or file say. Raises InvalidOption."""
        warn_in_loop(self._app.store, "set()", "use `await ….aset()`")
        drive(self._change(checked_live_layer(settings, queue=self.name)))

    @takes(Place.QUEUE)
    async def aset(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to what code or file say. Raises InvalidOption."""
        await adrive(self._change(checked_live_layer(settings, queue=self.name)))

    @verb
    def pause(self) -> Verb[None]:
        """Stop starting jobs from this queue; running jobs continue."""
        return self._change({"paused": True})

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[None]:
        """End a pause, and a drain."""
        return self._change({"paused": False, "draining": False})

    aresume = twin(resume)

    @verb
    def drain(self) -> Verb[None]:
        """Let no new jobs in: enqueuing raises QueueClosed. Those that wait are worked off."""
        return self._change({"draining": True})

    adrain = twin(drain)

    @verb
    def reset(self, *names: str) -> Verb[None]:
        """Take back what was set live: all of it, or these settings. Raises InvalidOption."""
        only = checked_words(names, queue=self.name)
        yield from commit(self._app, reset_queue(self.name, only, channel=self._app.store.backend.channel))
        yield from commit(self._app, loosen_gates(self.name))
        self._app.gate.look_again()

    areset = twin(reset)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"

    def _change(self, layer: Layer) -> Verb[None]:
        yield from commit(self._app, change_queue(self.name, layer, channel=self._app.store.backend.channel))
        if layer.keys() & LIMITS:
            yield from commit(self._app, loosen_gates(self.name))
        self._app.gate.look_again()


class Patience:
    """How long a call waits for room in a full queue."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._pause = MIN_PAUSE

    def pause(self, full: QueueFull) -> float:
        """Seconds to wait before the next try. Raises the error again when the time is over."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise full
        self._pause = min(MAX_PAUSE, 1.5 * self._pause)
        return min(left, self._pause)
