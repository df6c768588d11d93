"""Throttles: what must be calm before a long job begins its next slice, and what follows if it is not.

A throttle has ceilings of figures such as the load, and of how many items may be done in a span of time. A user's
function decides in its own way. Pure: the worker measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

from posthorse.errors import InvalidOption
from posthorse.rules.byte_sizes import as_bytes, size_text
from posthorse.rules.durations import Duration, as_text, as_timedelta
from posthorse.rules.gates import Requirement, gate_rule_of
from posthorse.rules.job import checked_name
from posthorse.rules.limits import Rate, as_rate, limit_as_words
from posthorse.rules.values.named_fields import named_fields
from posthorse.rules.values.texts import one_line
from posthorse.rules.values.type_mismatch import short

THROTTLED = "throttled"
"""How the reason of a job begins that a throttle sent away."""

LOOK_AGAIN = 0.25
"""Seconds between two looks while a job waits with its worker."""

MAX_ANSWER = 200
"""Characters of a function's text that are kept."""

SILENT: Literal["silent"] = "silent"
"""The reading of a figure that does not come in time, or whose measuring failed."""

Name = Literal["load", "memory", "replica_lag", "wal_rate", "dead_rows", "oldest_transaction", "probe"]
Reading = float | Literal["silent"] | None
"""What was measured; None if it cannot be measured here, which counts as calm."""

WhenSilent = Literal["calm", "busy"]
ThrottleFunction = Callable[[], object]
"""Returns False, True, a text that says why to wait, or how long; or an awaitable of that."""


class Ceiling(NamedTuple):
    """The most that a figure may be, in seconds, bytes, rows or a share; `of` is its table or address."""

    name: Name
    most: float
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """What must hold before a job begins its next slice. Give at least one; all of them must be calm.

    items: how many items may be done in a span of time, on all machines together: "500/s", or `ph.Rate("500/s",
        name="mail")`, which all throttles with that name share.
    load: the most load of the worker's machine, averaged over one minute.
    memory: the most memory of the worker's machine that may be in use, such as "90%".
    replica_lag: how far the slowest replica of the PostgreSQL server may be behind.
    wal_rate: how many bytes of its write-ahead log it may write in a second: "50MB/s".
    dead_rows: how many dead rows its tables may have: `{"users": 1_000_000}`.
    oldest_transaction: how old its oldest transaction may be.
    probe: an http or https address whose status is 200 to 299 while all is well.
    when_silent: "calm" or "busy": how a figure counts that does not come in time.
    on: the SQLAlchemy engine of the PostgreSQL server, if that is not the store's; only in code.

    Durations are seconds, timedelta or text. Raises InvalidOption.
    """

    items: Rate | str | None = None
    load: float | None = None
    memory: str | float | None = None
    replica_lag: Duration | None = None
    wal_rate: str | int | None = None
    dead_rows: Mapping[str, int] | None = None
    oldest_transaction: Duration | None = None
    probe: str | None = None
    when_silent: WhenSilent = "calm"
    on: object = None
    ceilings: Sequence[Ceiling] = field(init=False, repr=False, compare=False)
    """What is measured, in the order in which it is judged."""
    rate: Rate | None = field(init=False, repr=False, compare=False)
    """The rate of items."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", None if self.items is None else _checked_items(self.items))
        object.__setattr__(self, "ceilings", tuple(_ceilings(self)))
        if not self.ceilings and self.rate is None:
            raise InvalidOption(f"a throttle needs something to look at: {', '.join(_GIVEN)}")
        if cast("object", self.when_silent) not in ("calm", "busy"):
            raise InvalidOption(f'when_silent is {short(self.when_silent)}; it must be "calm" or "busy"')
        if self.on is not None:
            _check_engine(self.on)

    def as_words(self) -> dict[str, object]:
        """Return it as it is stored and shown: only what it says, without `on`."""
        words: dict[str, object] = {}
        for name in _GIVEN:
            value = getattr(self, name)
            if value is not None:
                words[name] = _as_word(value, name)
        if self.when_silent != "calm":
            words["when_silent"] = self.when_silent
        return words

    def __str__(self) -> str:
        return ",".join(f"{name}={_told(value)}" for name, value in self.as_words().items())


ThrottleGiven = Throttle | str | Mapping[str, object] | ThrottleFunction | None
"""A throttle as users write it."""

_GIVEN = ("items", "load", "memory", "replica_lag", "wal_rate", "dead_rows", "oldest_transaction", "probe")
_NAMES = (*_GIVEN, "when_silent", "on")


def as_throttle(value: object) -> Throttle | ThrottleFunction:
    """Convert an option: a Throttle, a function, a table of its fields, or text: "500/s", "load=8,replica_lag=10s".

    Raises InvalidOption.
    """
    if isinstance(value, Throttle):
        return value
    if isinstance(value, str) and "=" not in value:
        return Throttle(items=value)
    if (fields := named_fields(value, _NAMES, of="throttle")) is not None:
        if isinstance(value, str) and "load" in fields:
            fields["load"] = _number(fields["load"])
        return Throttle(**{name: one for name, one in fields.items() if one is not None})  # type: ignore[arg-type]  # checked by Throttle
    if callable(value):
        return cast("ThrottleFunction", value)
    raise InvalidOption(
        f'throttle is {short(value)}; write "500/s", ph.Throttle(load=8), or give a function that says when to wait'
    )


def throttle_as_words(throttle: Throttle | ThrottleFunction) -> object:
    """Return a throttle as it is shown: its words, or the name of its function."""
    if isinstance(throttle, Throttle):
        return {**throttle.as_words(), **({} if throttle.on is None else {"on": "<engine>"})}
    return f"<{getattr(throttle, '__name__', 'function')}>"


def is_only_code(throttle: object) -> bool:
    """Return whether a store cannot hold a throttle, because it is a function or has an engine."""
    return callable(throttle) or (isinstance(throttle, Throttle) and throttle.on is not None)


def requirement_of_items(rate: Rate, *scope: str) -> Requirement:
    """Return the gate from which items take tokens; a rate with a name is shared by all that name it."""
    what = ("items", *(scope if rate.name is None else ("name", rate.name)))
    return gate_rule_of(rate, "queue", "")._replace(what=what).requirement()


# ── the decision ─────────────────────────────────────────────────────────────────────────────────────


class Wait(NamedTuple):
    """Why to wait, and for how many seconds; None until what was measured is calm again."""

    reason: str
    seconds: float | None = None


class Nap(NamedTuple):
    """Wait so many seconds with the worker. `is_enough`: then go on without another look."""

    seconds: float
    is_enough: bool


class Leave(NamedTuple):
    """Let the worker go for so many seconds."""

    seconds: float


def busy(throttle: Throttle, readings: Mapping[Ceiling, Reading]) -> Wait | None:
    """Return why a job must wait, by what was measured; None if all is calm."""
    for ceiling in throttle.ceilings:
        reading = readings.get(ceiling)
        if reading == SILENT:
            if throttle.when_silent == "busy":
                return Wait(f"{_named(ceiling)} is silent")
        elif reading is not None and reading > ceiling.most:
            return Wait(_too_much(ceiling, reading))
    return None


def wait_for_items(rate: Rate, seconds: float) -> Wait | None:
    """Return how long a job must wait whose items have used tokens up to so many seconds from now."""
    return Wait(f"{rate.limit} items are allowed", seconds) if seconds > 0 else None


def wait_of_answer(answer: object) -> Wait | None:
    """Return what a function's answer means: false is calm, true busy, text says why, a number or timedelta how long.

    Raises InvalidOption.
    """
    if answer is None or answer is False or answer == "":
        return None
    if answer is True:
        return Wait("its function asks it to wait")
    if isinstance(answer, str):
        return Wait(one_line(answer, MAX_ANSWER))
    if isinstance(answer, int | float | timedelta):
        span = as_timedelta(answer, name="what the throttle returned")
        return Wait(f"its function asks it to wait {as_text(span)}", span.total_seconds()) if span else None
    raise InvalidOption(
        f"a throttle returned {short(answer)}; return False, True, a text that says why, or seconds to wait"
    )


def nap_or_leave(wait: Wait, waited: float, *, in_place: float, away: float, chance: float) -> Nap | Leave:
    """Return what a job does that must wait and has waited so many seconds with its worker.

    in_place: seconds that it waits with its worker at most.
    away: seconds after which it looks again once it left, if nothing says how long the wait is.
    chance: in [0, 1), spreads jobs that leave for the same reason.
    """
    left = in_place - waited
    if wait.seconds is not None:
        return Nap(wait.seconds, is_enough=True) if wait.seconds <= left else Leave(wait.seconds)
    return Nap(min(LOOK_AGAIN, left), is_enough=False) if left > 0 else Leave(away * (0.8 + 0.4 * chance))


def in_words(wait: Wait) -> str:
    """Return the reason of a job that waits."""
    return f"{THROTTLED}: {wait.reason}"


def _too_much(ceiling: Ceiling, reading: float) -> str:
    match ceiling.name:
        case "load":
            return f"the load is {reading:.1f}, {ceiling.most:g} are allowed"
        case "memory":
            return f"{reading:.0%} of the memory is in use, {ceiling.most:.0%} are allowed"
        case "replica_lag":
            return f"replica lag is {_seconds(reading)}, {_seconds(ceiling.most)} are allowed"
        case "wal_rate":
            return f"the server logs {size_text(int(reading))}/s, {size_text(int(ceiling.most))}/s are allowed"
        case "dead_rows":
            return f"table {ceiling.of} has {int(reading):,} dead rows, {int(ceiling.most):,} are allowed"
        case "oldest_transaction":
            return f"the oldest transaction is {_seconds(reading)} old, {_seconds(ceiling.most)} are allowed"
        case "probe":
            return f"{ceiling.of} has status {int(reading)}"


def _named(ceiling: Ceiling) -> str:
    return ceiling.of or ceiling.name.replace("_", " ")


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if 1 <= seconds < 60 else as_text(timedelta(seconds=seconds))


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────


def _ceilings(given: Throttle) -> list[Ceiling]:
    found: list[Ceiling] = []
    if given.load is not None:
        found.append(Ceiling("load", _above_zero(given.load, "load", "8")))
    if given.memory is not None:
        found.append(Ceiling("memory", _share(given.memory)))
    if given.replica_lag is not None:
        found.append(Ceiling("replica_lag", _span(given.replica_lag, "replica_lag")))
    if given.wal_rate is not None:
        text = given.wal_rate
        size = text.strip().removesuffix("/s") if isinstance(text, str) else text
        found.append(Ceiling("wal_rate", as_bytes(size, name="wal_rate")))
    found += _tables(given.dead_rows)
    if given.oldest_transaction is not None:
        found.append(Ceiling("oldest_transaction", _span(given.oldest_transaction, "oldest_transaction")))
    if given.probe is not None:
        found.append(Ceiling("probe", 0, _address(given.probe)))
    return found


def _checked_items(items: object) -> Rate:
    rate = as_rate(items)
    if rate.per is not None:
        raise InvalidOption(f"items has per={short(rate.per)}; items are counted together: leave per out")
    return rate


def _above_zero(value: object, name: str, example: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise InvalidOption(f"{name} is {short(value)}; it must be a number above 0, such as {example}")


def _share(value: object) -> float:
    share = value
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            share = None
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share < 1:
        return float(share)
    raise InvalidOption(f'memory is {short(value)}; write the share that may be in use, such as "90%"')


def _span(value: Duration, name: str) -> float:
    seconds = as_timedelta(value, name=name).total_seconds()
    if not seconds:
        raise InvalidOption(f"{name} is {short(value)}; it must be longer than zero")
    return seconds


def _tables(value: object) -> list[Ceiling]:
    if value is None:
        return []
    shown = short(value)
    tables: Mapping[object, object] = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else {}
    if not tables:
        raise InvalidOption(f'dead_rows is {shown}; give a table and a number of rows: {{"users": 1_000_000}}')
    return [
        Ceiling(
            "dead_rows", _above_zero(most, f"dead_rows of {short(table)}", "1000000"), checked_name(table, what="table")
        )
        for table, most in tables.items()
    ]


def _address(value: object) -> str:
    if isinstance(value, str):
        try:
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                return value
        except ValueError:
            pass
    raise InvalidOption(f'probe is {short(value)}; give an http or https address, such as "http://db.internal/ok"')


def _check_engine(engine: object) -> None:
    if not hasattr(engine, "connect") or hasattr(engine, "sync_engine"):
        raise InvalidOption(
            f"on is {short(engine)}; give an SQLAlchemy Engine, because figures are measured in a thread"
        )


def _number(text: object) -> object:
    """Return the number that a text is; the text itself if it is none, to be refused as what the user wrote."""
    try:
        return float(cast("str", text))
    except ValueError:
        return text


def _as_word(value: object, name: str) -> object:
    if isinstance(value, Rate):
        return limit_as_words(value)
    if isinstance(value, timedelta):
        return as_text(value)
    return dict(cast("Mapping[str, int]", value)) if name == "dead_rows" else value


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return "+".join(f"{name}:{one}" for name, one in cast("Mapping[str, object]", value).items())
    return f"{value:g}" if isinstance(value, float) else str(value)
