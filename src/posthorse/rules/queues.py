"""The settings of queues: one vocabulary wherever they are set, and which layer wins.

A layer holds the settings from one place: code, the file, or the live store. Later layers win, name by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import as_text, as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.limits import Concurrency, Rate, limit_as_words
from posthorse.rules.options.checks import level_name
from posthorse.rules.options.given import unknown_of_queue
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.retention import Keep
from posthorse.rules.throttle import Throttle, ThrottleFunction, is_only_code, throttle_as_words
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.window import Window

Order = Literal["fifo", "lifo"]
Layer = Mapping[str, object]
"""Checked values by name; None takes back the value of an earlier layer."""

NAMES = tuple(options_at(OptionPlace.QUEUE))
"""The names of settings, in code and in files."""
_WORDS = {**options_at(OptionPlace.QUEUE), **options_at(OptionPlace.LIVE)}


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one queue. Durations are kept in seconds."""

    max_depth: int | None = None
    """How many jobs may wait in it; beyond that `enqueue` raises QueueFull."""
    order: Order = "fifo"
    """First come first served, or the newest first."""
    weight: int = 1
    """Its share among queues of the same worker that have jobs of equal priority."""
    max_duration: float | None = None
    """The longest that an attempt may take, even if its job has a longer timeout."""
    labels: Mapping[str, str] = {}
    """Labels that a worker must have been started with to serve it."""
    rate: Rate | None = None
    concurrency: Concurrency | None = None
    fair: bool = False
    """Whether its tenants share it evenly."""
    retry_budget: Rate | None = None
    """How many retries may start in a time; further ones are postponed."""
    window: Window | None = None
    """The hours of the day in which its jobs run."""
    throttle: Throttle | ThrottleFunction | None = None
    """What must be calm before its long jobs begin their next slice."""
    ageing: float = 60.0
    """The seconds of waiting after which the first job of a lane counts as one priority higher; 0 for never."""
    keep: Keep | None = None
    """How long its jobs stay after their end, unless their kind says so."""
    log_level: int | None = None
    """The level from which lines of its jobs are stored, unless their kind says so."""
    paused: bool = False
    draining: bool = False

    def is_closed(self, now: int) -> bool:
        """Return True while no job of it may start; `now` is in microseconds since the epoch."""
        return self.paused or (self.window is not None and not self.window.is_open(now))

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Return whether a worker with these labels may serve it."""
        return all(labels.get(name) == value for name, value in self.labels.items())

    def ceiling(self, timeout: float | None, *, can_keep: bool) -> float | None:
        """Return the timeout of a job in this queue; without one it is `max_duration` if its code can be stopped."""
        if self.max_duration is None or (timeout is None and not can_keep):
            return timeout
        return self.max_duration if timeout is None else min(timeout, self.max_duration)


DEFAULTS = QueueSettings()


class DeclaredQueues:
    """The settings of queues that an application declares, in code and in its file."""

    def __init__(self) -> None:
        self._code: dict[str, dict[str, object]] = {}
        self._file: Mapping[str, Layer] = {}

    def declare(self, name: str, layer: Layer) -> None:
        """Add a declaration in code; an earlier one stays, except for the names given anew."""
        self._code.setdefault(name, {}).update(layer)

    def read_file(self, layers: Mapping[str, Layer]) -> None:
        """Add the settings of the file, which win over code."""
        self._file = layers

    def layer(self, name: str) -> Layer:
        """Return what code and file declare for a queue."""
        return {**self._code.get(name, {}), **self._file.get(name, {})}

    def settings(self, live: Mapping[str, Layer]) -> dict[str, QueueSettings]:
        """Return the settings of every queue that any layer names."""
        names = {*self._code, *self._file, *live}
        return {name: settings_of(self.layer(name), live.get(name, {})) for name in sorted(names)}


def settings_of(*layers: Layer) -> QueueSettings:
    """Return the settings that result from these layers; the last one wins."""
    said = {name: value for layer in layers for name, value in layer.items()}
    return QueueSettings(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]  # each checked by name


def checked_layer(values: Mapping[str, object], *, queue: str) -> dict[str, object]:
    """Check the values of a layer. Raises InvalidOption, which names the queue and the nearest name.

    `worker_count` is another name for `concurrency`, and `instance_type` for a label of that name.
    """
    layer: dict[str, object] = {}
    for name, value in values.items():
        if name not in NAMES:
            raise unknown_of_queue(name, queue, NAMES)
        target = _target(name)
        try:
            checked = None if value is None else _WORDS[name].check(value)
        except InvalidOption as error:
            written = "" if name in str(error) else f"{name}: "  # some checks name the option already
            raise InvalidOption(f"queue {queue!r}: {written}{error}") from None
        earlier = layer.get(target)
        if target == "labels" and isinstance(earlier, Mapping) and isinstance(checked, Mapping):
            checked = {**cast("Mapping[str, str]", earlier), **cast("Mapping[str, str]", checked)}
        elif target in layer:
            words = " and as ".join(repr(each) for each in values if each in _WORDS and _target(each) == target)
            raise InvalidOption(f"queue {queue!r} has {target!r} twice, as {words}; write it once")
        layer[target] = checked
    return layer


def checked_live_layer(values: Mapping[str, object], *, queue: str) -> dict[str, object]:
    """Check values that go into a store. Raises InvalidOption also for values that only code can hold."""
    layer = checked_layer(values, queue=queue)
    for name, value in layer.items():
        if name == "throttle" and is_only_code(value):
            raise InvalidOption(
                f"queue {queue!r}: throttle is a function or has on=, and a store cannot hold code; declare it with "
                f"app.queue({queue!r}, throttle=…)"
            )
        if isinstance(value, Rate | Concurrency) and callable(value.per):
            raise InvalidOption(
                f"queue {queue!r}: {name} has a function as its per=, and a store cannot hold code; name a parameter, "
                f"or declare it with app.queue({queue!r}, {name}=…)"
            )
    return layer


def checked_words(names: Iterable[str], *, queue: str) -> tuple[str, ...]:
    """Return the settings that these words mean. Raises InvalidOption, which names the nearest one."""
    for name in names:
        if name not in _WORDS:
            raise unknown_of_queue(name, queue, tuple(_WORDS))
    return tuple(_target(name) for name in names)


def checked_layers(values: object) -> dict[str, dict[str, object]]:
    """Check the part `queues` of a file; return layers by queue. Raises InvalidOption."""
    if not isinstance(values, Mapping):
        raise InvalidOption(f"queues is {short(values)}; write a table for each queue, with its settings")
    layers: dict[str, dict[str, object]] = {}
    for name, said in cast("Mapping[object, object]", values).items():
        queue = checked_name(name, what="queue")
        if not isinstance(said, Mapping):
            raise InvalidOption(
                f"queue {queue!r} is {short(said)}; write its settings as a table, such as {{weight = 3}}"
            )
        layers[queue] = checked_layer(cast("Mapping[str, object]", said), queue=queue)
    return layers


def layer_as_words(layer: Layer) -> dict[str, object]:
    """Return a layer as it is stored: JSON values that `checked_layer` accepts."""
    return {name: _as_word(value) for name, value in layer.items()}


def layer_from_words(words: Mapping[str, object]) -> dict[str, object]:
    """Read a stored layer; ignore settings of a newer version."""
    return {
        name: None if value is None else _WORDS[name].check(value) for name, value in words.items() if name in _WORDS
    }


def settings_in_words(settings: QueueSettings) -> dict[str, str]:
    """Return the settings that differ from the defaults, in the words in which users set them."""
    return {
        name: _told(name, value)
        for name in QueueSettings.__struct_fields__
        if (value := getattr(settings, name)) != getattr(DEFAULTS, name)
    }


def _target(word: str) -> str:
    """Return the setting that a word means."""
    return _WORDS[word].means or word


def _as_word(value: object) -> object:
    if isinstance(value, Rate | Concurrency):
        return limit_as_words(value)
    if isinstance(value, Keep):
        return value.as_words()
    if isinstance(value, Throttle) or callable(value):
        return throttle_as_words(cast("Throttle | ThrottleFunction", value))
    return str(value) if isinstance(value, Window) else value


def _told(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        labels = cast("Mapping[str, str]", value)
        return ",".join(f"{label}={labels[label]}" for label in sorted(labels))
    if isinstance(value, Rate | Concurrency):
        said = limit_as_words(value)
        parts = cast("Mapping[str, object]", said) if isinstance(said, Mapping) else {"limit": said}
        return " ".join(str(part) if word == "limit" else f"{word} {part}" for word, part in parts.items())
    if isinstance(value, Keep | Throttle):
        return str(value)
    if name == "log_level" and isinstance(value, int):
        return level_name(value)
    if callable(value):
        return str(throttle_as_words(cast("ThrottleFunction", value)))
    if isinstance(value, float):
        return as_text(as_timedelta(value, name=name))
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
