"""Queues as an application holds them: declared in code, changed live, and asked before something enters one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import QueueClosed, QueueFull
from posthorse.rules.depth import Gauge
from posthorse.rules.job import NewJob
from posthorse.rules.queues import Layer, QueueSettings, checked_live_layer, checked_words, settings_of
from posthorse.store.operations.gates import loosen_gates
from posthorse.store.operations.queues import change_queue, live_layers, reset_queue

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

LOOK_EVERY = 1.0
"""Seconds after which a process that enqueues looks again for what was said of queues elsewhere."""

LIMITS = frozenset({"rate", "concurrency"})
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.25
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

    def set(self, **settings: object) -> None:
        """Changes settings; None takes back what code or file say. Raises InvalidOption."""
        self._change(checked_live_layer(settings, queue=self.name))

    async def aset(self, **settings: object) -> None:
        """Changes settings; None takes back what code or file say. Raises InvalidOption."""
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


class Gate:
    """What must be looked at before jobs enter queues; knows what was said of them a second ago at most."""

    def __init__(self, app: Posthorse) -> None:
        self._app = app
        self._looked_at: float | None = None
        self._draining: frozenset[str] = frozenset()
        self._gauges: dict[str, Gauge] = {}
        self._fair: frozenset[str] = frozenset()
        self._learning = threading.Lock()

    def gauges(self, queues: set[str]) -> Mapping[str, Gauge]:
        """The gauges of those queues whose depth is limited. Raises QueueClosed when one is being drained."""
        if self._is_due():
            self._learn(self._app.store.read(live_layers()))
        return self._checked(queues)

    async def agauges(self, queues: set[str]) -> Mapping[str, Gauge]:
        """The same for a coroutine."""
        if self._is_due():
            self._learn(await self._app.store.aread(live_layers()))
        return self._checked(queues)

    def placed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """Jobs with the lanes where they belong: in a fair queue each tenant has its own."""
        if not self._fair:
            return jobs
        return [
            replace(job, lane=replace(job.lane, tenant=job.tenant))
            if job.tenant is not None and job.lane.queue in self._fair
            else job
            for job in jobs
        ]

    def look_again(self) -> None:
        """Something was changed here: the next who enqueues looks."""
        self._looked_at = None

    def _is_due(self) -> bool:
        """True for one caller a second, while the others go by what is known; for all as long as nothing is."""
        now, before = monotonic(), self._looked_at
        if before is None:
            return True
        if now - before < LOOK_EVERY:
            return False
        self._looked_at = now
        return True

    def _learn(self, live: Mapping[str, Layer]) -> None:
        with self._learning:
            self._looked_at = monotonic()
            settings = self._app.registry.queues.settings(live)
            self._draining = frozenset(name for name, said in settings.items() if said.draining)
            self._fair = frozenset(name for name, said in settings.items() if said.fair)
            limits = {name: said.max_depth for name, said in settings.items() if said.max_depth is not None}
            self._gauges = {
                name: known if (known := self._gauges.get(name)) and known.max_depth == limit else Gauge(limit)
                for name, limit in limits.items()
            }

    def _checked(self, queues: set[str]) -> Mapping[str, Gauge]:
        closed = sorted(queues & self._draining)
        if closed:
            raise QueueClosed(closed[0])
        return {queue: self._gauges[queue] for queue in queues & self._gauges.keys()} if self._gauges else {}


class Patience:
    """How long a call waits for room in a full queue."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._pause = SHORTEST_PAUSE

    def pause(self, full: QueueFull) -> float:
        """Seconds to wait before the next try. Raises the error again when the time is over."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise full
        self._pause = min(LONGEST_PAUSE, 1.5 * self._pause)
        return min(left, self._pause)
