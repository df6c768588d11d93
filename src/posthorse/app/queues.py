"""Queues as an application holds them: declared in code, and changed live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

from posthorse.app.signatures import takes
from posthorse.clock import monotonic
from posthorse.errors import QueueFull
from posthorse.rules.options.table import Place
from posthorse.rules.queues import Layer, QueueSettings, checked_live_layer, checked_words, settings_of
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

    def settings(self) -> QueueSettings:
        """What holds now: what code and file say, and above it what was set live."""
        return self._over(self._app.store.read(live_layers()))

    async def asettings(self) -> QueueSettings:
        """What holds now: what code and file say, and above it what was set live."""
        return self._over(await self._app.store.aread(live_layers()))

    @takes(Place.QUEUE)
    def set(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to what code or file say. Raises InvalidOption."""
        self._change(checked_live_layer(settings, queue=self.name))

    @takes(Place.QUEUE)
    async def aset(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to what code or file say. Raises InvalidOption."""
        await self._achange(checked_live_layer(settings, queue=self.name))

    def pause(self) -> None:
        """None of its jobs is begun any more; they wait. Those that run go on."""
        self._change({"paused": True})

    async def apause(self) -> None:
        """None of its jobs is begun any more; they wait. Those that run go on."""
        await self._achange({"paused": True})

    def resume(self) -> None:
        """Ends a pause, and a drain."""
        self._change({"paused": False, "draining": False})

    async def aresume(self) -> None:
        """Ends a pause, and a drain."""
        await self._achange({"paused": False, "draining": False})

    def drain(self) -> None:
        """No new jobs are let in: enqueuing raises QueueClosed. Those that wait are worked off."""
        self._change({"draining": True})

    async def adrain(self) -> None:
        """No new jobs are let in: enqueuing raises QueueClosed. Those that wait are worked off."""
        await self._achange({"draining": True})

    def reset(self, *names: str) -> None:
        """Takes back what was set live: all of it, or these settings. Raises InvalidOption."""
        only = checked_words(names, queue=self.name)
        self._app.store.run(reset_queue(self.name, only, channel=self._app.store.backend.channel))
        self._app.store.run(loosen_gates(self.name))
        self._app.gate.look_again()

    async def areset(self, *names: str) -> None:
        """Takes back what was set live: all of it, or these settings. Raises InvalidOption."""
        only = checked_words(names, queue=self.name)
        await self._app.store.arun(reset_queue(self.name, only, channel=self._app.store.backend.channel))
        await self._app.store.arun(loosen_gates(self.name))
        self._app.gate.look_again()

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"

    def _over(self, live: Mapping[str, Layer]) -> QueueSettings:
        return settings_of(self._app.registry.queues.layer(self.name), live.get(self.name, {}))

    def _change(self, layer: Layer) -> None:
        self._app.store.run(change_queue(self.name, layer, channel=self._app.store.backend.channel))
        if layer.keys() & LIMITS:
            self._app.store.run(loosen_gates(self.name))
        self._app.gate.look_again()

    async def _achange(self, layer: Layer) -> None:
        await self._app.store.arun(change_queue(self.name, layer, channel=self._app.store.backend.channel))
        if layer.keys() & LIMITS:
            await self._app.store.arun(loosen_gates(self.name))
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
