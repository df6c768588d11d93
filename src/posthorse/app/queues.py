"""Queues as an application uses them: declared in code, and changed live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from posthorse.app.option_signatures import takes
from posthorse.app.verbs import Verb, adrive, commit, drive, look_up, twin, verb
from posthorse.clock import monotonic
from posthorse.errors import QueueFull
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.queues import Layer, QueueSettings, checked_live_layer, checked_words, settings_of
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.gates import loosen_gates
from posthorse.store.operations.queues import change_queue, live_layers, reset_queue

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.option_types import QueueOptions

LIMITS = frozenset({"rate", "concurrency"})
MIN_PAUSE, MAX_PAUSE = 0.01, 0.25
"""Seconds between two tries to enter a full queue."""


class Queue:
    """A queue, by its name. Changes apply at once, on every machine, until they are reset.

    Each call except `settings` is one commit; running workers learn of it within a second. Each method has a twin with
    an `a` in front, to be awaited.
    """

    def __init__(self, app: Posthorse, name: str) -> None:
        self._app = app
        self.name = name

    @verb
    def settings(self) -> Verb[QueueSettings]:
        """Read the settings that apply now: those of code and file, overridden by those set live."""
        live = yield from look_up(self._app, live_layers())
        return settings_of(self._app.registry.queues.layer(self.name), live.get(self.name, {}))

    asettings = twin(settings)

    @takes(OptionPlace.QUEUE)  # both declared, because editors show an option's line only there
    def set(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to the value of code or file. Raises InvalidOption."""
        warn_in_loop(self._app.store, "set()", "use `await ….aset()`")
        drive(self._change(checked_live_layer(settings, queue=self.name)))

    @takes(OptionPlace.QUEUE)
    async def aset(self, **settings: Unpack[QueueOptions]) -> None:
        """Change settings now, on every machine; None returns to the value of code or file. Raises InvalidOption."""
        await adrive(self._change(checked_live_layer(settings, queue=self.name)))

    @verb
    def pause(self) -> Verb[None]:
        """Stop starting jobs from this queue; running jobs continue."""
        return self._change({"paused": True})

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[None]:
        """End a pause or a drain."""
        return self._change({"paused": False, "draining": False})

    aresume = twin(resume)

    @verb
    def drain(self) -> Verb[None]:
        """Accept no new jobs: enqueuing raises QueueClosed. Waiting jobs still run."""
        return self._change({"draining": True})

    adrain = twin(drain)

    @verb
    def reset(self, *names: str) -> Verb[None]:
        """Remove settings that were set live: all of them, or the named ones. Raises InvalidOption."""
        only = checked_words(names, queue=self.name)
        yield from commit(self._app, reset_queue(self.name, only))
        yield from commit(self._app, loosen_gates(self.name))
        self._app.gate.look_again()

    areset = twin(reset)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"

    def _change(self, layer: Layer) -> Verb[None]:
        yield from commit(self._app, change_queue(self.name, layer))
        if layer.keys() & LIMITS:
            yield from commit(self._app, loosen_gates(self.name))
        self._app.gate.look_again()


class Patience:
    """How long a call waits for room in a full queue."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._pause = MIN_PAUSE

    def pause(self, full: QueueFull) -> float:
        """Return the seconds to wait before the next try. Raises the error again if the time is over."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise full
        self._pause = min(MAX_PAUSE, 1.5 * self._pause)
        return min(left, self._pause)
