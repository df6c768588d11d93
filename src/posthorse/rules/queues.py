"""The settings of queues: what may be said of one, in one vocabulary wherever it is said, and which layer wins.

A layer holds what was said in one place: in code, in the file, or to the live store. Later ones win, name by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_text, as_timedelta
from posthorse.rules.elsewhere import OF_QUEUES, advice
from posthorse.rules.job import checked_name
from posthorse.rules.limits import Concurrency, Rate, as_concurrency, as_rate, limit_as_words
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.window import Window, as_window

Order = Literal["fifo", "lifo"]
Layer = Mapping[str, object]
"""Checked values by name; None takes back what an earlier layer says."""

MAX_WEIGHT = 1000
DEEPEST = 100_000_000
MAX_LABELS = 50

_LABEL = re.compile(r"[\w.:/@+-]{1,200}")


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one queue. Durations are kept in seconds."""

    max_depth: int | None = None
    """How many jobs may wait in it to be run; beyond that `enqueue` raises QueueFull."""
    order: Order = "fifo"
    """First come first served, or the newest first."""
    weight: int = 1
    """Its share among queues of the same worker that have jobs of equal priority."""
    max_duration: float | None = None
    """The longest that an attempt may take, whatever its job says."""
    labels: Mapping[str, str] = {}
    """What a worker must have been started with to take it."""
    rate: Rate | None = None
    concurrency: Concurrency | None = None
    fair: bool = False
    """Whether its tenants take turns."""
    retry_budget: Rate | None = None
    """How many retries may start in a time; those beyond it are put off."""
    window: Window | None = None
    """The hours of the day in which its jobs are begun."""
    ageing: float = 60.0
    """The seconds of waiting after which the job at the head of a line counts as one priority higher; 0 for never."""
    paused: bool = False
    draining: bool = False

    def is_closed(self, now: int) -> bool:
        """True while none of its jobs may begin; `now` is in microseconds since the epoch."""
        return self.paused or (self.window is not None and not self.window.is_open(now))

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a worker with such labels may take it."""
        return all(labels.get(name) == value for name, value in self.labels.items())

    def ceiling(self, timeout: float | None, *, can_keep: bool) -> float | None:
        """The timeout of a job in this queue; one without gets the longest duration where its code can be stopped."""
        if self.max_duration is None or (timeout is None and not can_keep):
            return timeout
        return self.max_duration if timeout is None else min(timeout, self.max_duration)


DEFAULTS = QueueSettings()
LIVE_ONLY = frozenset({"draining"})
"""What only the live store may say: it is an act of somebody, not a property."""


class DeclaredQueues:
    """What an application says of queues, in code and in its file."""

    def __init__(self) -> None:
        self._code: dict[str, dict[str, object]] = {}
        self._file: Mapping[str, Layer] = {}

    def declare(self, name: str, layer: Layer) -> None:
        """Enters what code says; what it said before stays where it is not said anew."""
        self._code.setdefault(name, {}).update(layer)

    def read_file(self, layers: Mapping[str, Layer]) -> None:
        """Takes what the file says; that wins over code."""
        self._file = layers

    def layer(self, name: str) -> Layer:
        """What code and file say of a queue."""
        return {**self._code.get(name, {}), **self._file.get(name, {})}

    def settings(self, live: Mapping[str, Layer]) -> dict[str, QueueSettings]:
        """What holds for every queue of which anybody says something."""
        names = {*self._code, *self._file, *live}
        return {name: settings_of(self.layer(name), live.get(name, {})) for name in sorted(names)}


def settings_of(*layers: Layer) -> QueueSettings:
    """What holds when these layers lie upon each other, the last on top."""
    said = {name: value for layer in layers for name, value in layer.items()}
    return QueueSettings(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]  # each checked by name


def checked_layer(values: Mapping[str, object], *, queue: str) -> dict[str, object]:
    """A layer from named values. Raises InvalidOption, which names the queue and the neighbour of a misspelt key.

    `worker_count` is another word for `concurrency`, and `instance_type` for a label of that name.
    """
    layer: dict[str, object] = {}
    for name, value in values.items():
        if name not in NAMES:
            raise _unknown(name, queue, NAMES)
        try:
            target, checked = CHECKS[name](value) if value is not None else (CHECKS[name](None)[0], None)
        except InvalidOption as error:
            written = "" if name in str(error) else f"{name}: "  # a check speaks of what the word means
            raise InvalidOption(f"queue {queue!r}: {written}{error}") from None
        earlier = layer.get(target)
        if target == "labels" and isinstance(earlier, Mapping) and isinstance(checked, Mapping):
            checked = {**cast("Mapping[str, str]", earlier), **cast("Mapping[str, str]", checked)}
        elif target in layer:
            words = " and as ".join(repr(each) for each in values if each in CHECKS and CHECKS[each](None)[0] == target)
            raise InvalidOption(f"queue {queue!r} has {target!r} twice, as {words}; write it once")
        layer[target] = checked
    return layer


def checked_live_layer(values: Mapping[str, object], *, queue: str) -> dict[str, object]:
    """The same for what goes into a store. Raises InvalidOption for what only code can hold, too."""
    layer = checked_layer(values, queue=queue)
    for name, value in layer.items():
        if isinstance(value, Rate | Concurrency) and callable(value.per):
            raise InvalidOption(
                f"queue {queue!r}: {name} has a function as its per=, and a store cannot hold code; name a parameter, "
                f"or declare it with app.queue({queue!r}, {name}=…)"
            )
    return layer


def checked_words(names: Iterable[str], *, queue: str) -> tuple[str, ...]:
    """The settings that these words mean. Raises InvalidOption, which names the neighbour of a misspelt one."""
    for name in names:
        if name not in CHECKS:
            raise _unknown(name, queue, tuple(CHECKS))
    return tuple(CHECKS[name](None)[0] for name in names)


def checked_layers(values: object) -> dict[str, dict[str, object]]:
    """Layers by queue, as the part `queues` of a file holds them. Raises InvalidOption."""
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
    """A layer as it is stored: values that JSON has, and that `checked_layer` takes."""
    return {name: _as_word(value) for name, value in layer.items()}


def layer_from_words(words: Mapping[str, object]) -> dict[str, object]:
    """A layer as it was stored; what a newer version said is left aside."""
    return {name: None if value is None else CHECKS[name](value)[1] for name, value in words.items() if name in CHECKS}


def told(settings: QueueSettings) -> dict[str, str]:
    """What differs from the defaults, for people, in the words in which it may be set."""
    return {
        name: _told(name, value)
        for name in QueueSettings.__struct_fields__
        if (value := getattr(settings, name)) != getattr(DEFAULTS, name)
    }


def as_labels(value: object) -> dict[str, str]:
    """Labels from a table, from "gpu=yes,zone=a", or from a list of such texts. Raises InvalidOption."""
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        value = _label_table([str(part) for part in cast("list[object]", value)])
    if not isinstance(value, Mapping) or len(cast("Mapping[object, object]", value)) > MAX_LABELS:
        shown = short(value)  # pyright: ignore[reportUnknownArgumentType]  # it may hold anything
        raise InvalidOption(f'labels are {shown}; write up to {MAX_LABELS} as {{"instance_type": "c5.xlarge"}}')
    labels = cast("Mapping[object, object]", value)
    for name, text in labels.items():
        if not all(isinstance(part, str) and _LABEL.fullmatch(part) for part in (name, text)):
            raise InvalidOption(
                f"label {short(name)} is {short(text)}; name and value must be texts of letters, digits and "
                ". : / @ + - _"
            )
    return cast("dict[str, str]", dict(labels))


def _unknown(name: object, queue: str, known: Sequence[str]) -> InvalidOption:
    from posthorse.rules.registry import is_of_kinds  # here, because registries hold queues

    listed = f"known are {', '.join(known)}"
    if not isinstance(name, str):
        hint = listed
    elif is_of_kinds(name) and name not in CHECKS:
        hint = f"it is said of a kind: @app.job({name}=…)"
    else:
        hint = advice(name, known, elsewhere=OF_QUEUES, listed=listed)
    return InvalidOption(f"queue {queue!r} has no setting {short(name)}; {hint}")


def _label_table(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        name, separator, value = (part.strip() for part in text.partition("="))
        if not separator:
            raise InvalidOption(f'label {short(text)} has no value; write NAME=VALUE, such as "gpu=yes"')
        if name in labels:
            raise InvalidOption(f"label {name!r} has two values; give each label one")
        labels[name] = value
    return labels


def _as_word(value: object) -> object:
    if isinstance(value, Rate | Concurrency):
        return limit_as_words(value)
    return str(value) if isinstance(value, Window) else value


def _told(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        labels = cast("Mapping[str, str]", value)
        return ",".join(f"{label}={labels[label]}" for label in sorted(labels))
    if isinstance(value, Rate | Concurrency):
        said = limit_as_words(value)
        parts = cast("Mapping[str, object]", said) if isinstance(said, Mapping) else {"limit": said}
        return " ".join(str(part) if word == "limit" else f"{word} {part}" for word, part in parts.items())
    if isinstance(value, float):
        return as_text(as_timedelta(value, name=name))
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(name: str, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        raise InvalidOption(f"{name} is {short(value)}; it must be a whole number from 1 to {most:,}")

    return check


def _span(name: str) -> Callable[[object], float]:
    def check(value: object) -> float:
        seconds = as_timedelta(cast("Duration", value), name=name).total_seconds()
        if seconds <= 0:
            raise InvalidOption(f"{name} is {short(value)}; it must be longer than zero")
        return seconds

    return check


def _ageing(value: object) -> float:
    return as_timedelta(cast("Duration", value), name="ageing").total_seconds()


def _order(value: object) -> str:
    if value in ("fifo", "lifo"):
        return value
    raise InvalidOption(
        f'order is {short(value)}; it must be "fifo" (first come, first served) or "lifo" (newest first)'
    )


def _flag(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise InvalidOption(f"{name} is {short(value)}; it must be true or false")

    return check


def _retry_budget(value: object) -> Rate:
    rate = as_rate(value)
    for name in ("per", "name"):
        if (said := getattr(rate, name)) is not None:
            raise InvalidOption(
                f"retry_budget has {name}={short(said)}; it is one for all of the queue: leave {name} out"
            )
    return rate


def _instance_type(value: object) -> dict[str, str]:
    return as_labels({"instance_type": value})


def _under(target: str, check: Callable[[object], object]) -> Callable[[object], tuple[str, object]]:
    return lambda value: (target, None if value is None else check(value))


CHECKS: dict[str, Callable[[object], tuple[str, object]]] = {
    "max_depth": _under("max_depth", _whole("max_depth", DEEPEST)),
    "order": _under("order", _order),
    "weight": _under("weight", _whole("weight", MAX_WEIGHT)),
    "max_duration": _under("max_duration", _span("max_duration")),
    "labels": _under("labels", as_labels),
    "rate": _under("rate", as_rate),
    "concurrency": _under("concurrency", as_concurrency),
    "window": _under("window", as_window),
    "ageing": _under("ageing", _ageing),
    "fair": _under("fair", _flag("fair")),
    "retry_budget": _under("retry_budget", _retry_budget),
    "paused": _under("paused", _flag("paused")),
    "draining": _under("draining", _flag("draining")),
    "worker_count": _under("concurrency", as_concurrency),
    "instance_type": _under("labels", _instance_type),
}
"""Every word that may be said of a queue: which setting it means, and the check of its value."""

NAMES = tuple(name for name in CHECKS if name not in LIVE_ONLY)
