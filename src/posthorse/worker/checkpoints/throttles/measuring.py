"""Measuring for throttles: once a process, however many jobs look.

What may take long is measured in a thread of its own, and no job waits longer than a moment for it. A figure that hangs
has one thread that hangs, and counts as silent until it answers.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from posthorse.clock import monotonic
from posthorse.rules.throttle import SILENT, Ceiling, Name, Reading, Throttle
from posthorse.rules.tuning import Tuning
from posthorse.store.store import Store
from posthorse.worker.checkpoints.throttles.machine import load_average, memory_in_use
from posthorse.worker.checkpoints.throttles.probe import probe
from posthorse.worker.checkpoints.throttles.server import ServerOfEngine, ServerOfStore, server_measures

log = logging.getLogger("posthorse.worker")

QUICK_INTERVAL = 1.0
"""Seconds between two measurements of the machine, which take microseconds."""

QUICK: frozenset[Name] = frozenset({"load", "memory"})

Measure = Callable[[str], float | None]
"""Measures a figure of a table or address; None if it cannot be measured here. Raises what it likes."""


class Measurement:
    """The last reading of one ceiling, and the next one while it is under way."""

    def __init__(self, measure: Callable[[], float | None], label: str, *, is_quick: bool, tuning: Tuning) -> None:
        self._measure = measure
        self._label = label
        self._is_quick = is_quick
        self._interval = QUICK_INTERVAL if is_quick else tuning.throttle_interval
        self._patience = tuning.throttle_patience
        self._guard = threading.Lock()
        self._value: Reading = SILENT
        self._at: float | None = None
        self._began = 0.0
        self._under_way: Future[None] | None = None
        self._fails = False

    def refresh(self, now: float) -> AwaitedReading | None:
        """Measure anew if the reading is old; return what to wait for, and how long, if it is too old to be used."""
        with self._guard:
            is_due = self._at is None or now - self._at >= self._interval
            if is_due and self._is_quick:
                self._note(self._measured())
                return None
            if is_due and self._under_way is None:
                self._began, self._under_way = now, Future()
                threading.Thread(
                    target=self._run, args=(self._under_way,), name="posthorse-figure", daemon=True
                ).start()
            if self._under_way is None or (self._at is not None and now - self._at < 2 * self._interval):
                return None
            left = self._began + self._patience - now
            return AwaitedReading(self._under_way, left) if left > 0 else None

    def reading(self, now: float) -> Reading:
        """Return the last reading, or that it is silent."""
        with self._guard:
            is_late = self._under_way is not None and now - self._began >= self._patience
            return SILENT if self._at is None or is_late else self._value

    def _run(self, done: Future[None]) -> None:
        reading = self._measured()
        with self._guard:
            self._note(reading)
            self._under_way = None
        done.set_result(None)

    def _note(self, reading: Reading) -> None:
        self._value, self._at = reading, monotonic()

    def _measured(self) -> Reading:
        try:
            reading = self._measure()
        except Exception as error:
            if not self._fails:
                words = "a throttle cannot measure %s: %s; said again once it worked in between"
                log.warning(words, self._label, error)
            self._fails = True
            return SILENT
        self._fails = False
        return reading


class AwaitedReading(NamedTuple):
    """A measurement to wait for, and for how many seconds."""

    done: Future[None]
    seconds: float


class Measuring:
    """The measurements of one process, for one store. `measures` has how each figure is measured."""

    def __init__(self, store: Store) -> None:
        self._tuning = store.tuning
        self._guard = threading.Lock()
        self._measurements: dict[tuple[Name, str, object], Measurement] = {}
        self._of_engines: dict[object, Mapping[Name, Measure]] = {}
        self._failing: set[object] = set()
        self.measures: dict[Name, Measure] = {
            "load": load_average,
            "memory": memory_in_use,
            "probe": lambda address: probe(address, within=self._tuning.throttle_patience),
            **server_measures(ServerOfStore(weakref.proxy(store))),
        }

    def of(self, throttle: Throttle) -> Sequence[tuple[Ceiling, Measurement]]:
        """Return the measurements of all that a throttle has ceilings for."""
        return [(ceiling, self._measurement(ceiling, throttle.on)) for ceiling in throttle.ceilings]

    def note_failure(self, function: object, error: Exception) -> None:
        """Log that a function failed, once until it worked again."""
        if function not in self._failing:
            self._failing.add(function)
            name = getattr(function, "__qualname__", repr(function))
            log.error("the throttle %s failed, and counts as calm until it works again", name, exc_info=error)

    def note_success(self, function: object) -> None:
        """Note that a function worked."""
        self._failing.discard(function)

    def _measurement(self, ceiling: Ceiling, engine: object) -> Measurement:
        measures = self.measures if engine is None else self._measures_on(engine)
        own = engine if ceiling.name in measures else None
        key = (ceiling.name, ceiling.of, own)
        with self._guard:
            found = self._measurements.get(key)
            if found is None:
                measure = measures.get(ceiling.name) or self.measures[ceiling.name]
                label = f"{ceiling.name.replace('_', ' ')}{f' of {ceiling.of}' if ceiling.of else ''}"
                found = self._measurements[key] = Measurement(
                    lambda: measure(ceiling.of), label, is_quick=ceiling.name in QUICK, tuning=self._tuning
                )
            return found

    def _measures_on(self, engine: object) -> Mapping[Name, Measure]:
        with self._guard:
            if engine not in self._of_engines:
                self._of_engines[engine] = server_measures(ServerOfEngine(engine))
            return self._of_engines[engine]


_measuring: MutableMapping[Store, Measuring] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def measuring_for(store: Store) -> Measuring:
    """Return what measures in this process for jobs of a store."""
    with _guard:
        found = _measuring.get(store)
        if found is None:
            found = _measuring[store] = Measuring(store)
        return found
