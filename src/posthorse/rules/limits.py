"""Limits as users write them: a rate such as "100/s", a concurrency such as 20, or a sequence.

This module says only what a limit means; `gates` enforces it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, cast

from posthorse.errors import InvalidOption
from posthorse.rules.durations import as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.values.type_mismatch import short

Per = str | Callable[..., object]
"""The partition key of a limit: "tenant", the name of a parameter, or a function of the arguments."""

MAX_LIMIT = 1_000_000_000
MAX_SPAN = 31 * 86_400.0
MAX_TEXT = 64

_RATE = re.compile(r"\s*([0-9]+)\s*/\s*(.+?)\s*")
_WORDS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d"}


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs may start in a span of time: "100/s", "10/m", "500/15m".

    This is a token bucket: in any window of w seconds at most `rate · w + burst` jobs start.

    burst: the most tokens that are saved up; by default those of one second, and at least 1.
    per: the partition key; each value (each tenant, or each value of a parameter) has its own bucket.
    name: limits with the same name share their buckets.

    Raises InvalidOption.
    """

    limit: str
    per: Per | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    burst: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_text(self.limit)
        _parsed_rate(self.limit)
        _check_per(self.per, what="Rate.per")
        if self.name is not None:
            checked_name(self.name, what="Rate.name")
        if self.burst is not None:
            _checked_count(self.burst, what="Rate.burst")

    @property
    def count(self) -> int:
        """The number of jobs."""
        return _parsed_rate(self.limit)[0]

    @property
    def seconds(self) -> float:
        """The span of time, in seconds."""
        return _parsed_rate(self.limit)[1]

    @property
    def per_second(self) -> float:
        """Tokens that come in each second."""
        return self.count / self.seconds

    @property
    def capacity(self) -> int:
        """The most tokens that are ever saved up."""
        return self.burst if self.burst is not None else max(1, math.ceil(self.per_second))


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many jobs may run at the same time, on all machines together; `per` and `name` are those of a Rate."""

    limit: int
    per: Per | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _checked_count(self.limit, what="concurrency")
        _check_per(self.per, what="Concurrency.per")
        if self.name is not None:
            checked_name(self.name, what="Concurrency.name")


@dataclass(frozen=True, slots=True)
class Sequence:
    """Run jobs with the same key one after the other, in the order in which they were enqueued. Each starts after the
    one before has ended, retries included.

    key: the key itself; it counts within one tenant, across kinds.
    per: takes the key from a parameter, "tenant", or a function of the arguments; it counts within the kind.
    on_dead: a job that failed for good blocks the later ones until it is retried or discarded; with "pass" they go on
    without it.

    Raises InvalidOption.
    """

    key: str | None = None
    per: Per | None = field(default=None, kw_only=True)
    on_dead: Literal["block", "pass"] = field(default="block", kw_only=True)

    def __post_init__(self) -> None:
        if (self.key is None) == (self.per is None):
            has = "neither" if self.per is None else "both"
            raise InvalidOption(
                f"a Sequence needs a key or a parameter, and this one has {has}; "
                'write ph.Sequence("invoice-7") or ph.Sequence(per="customer_id")'
            )
        if self.key is not None:
            checked_name(self.key, what="sequence")
        _check_per(self.per, what="Sequence.per")
        if self.on_dead not in ("block", "pass"):
            raise InvalidOption(f'on_dead is {short(self.on_dead)}; it must be "block" or "pass"')


def as_sequence(value: object) -> Sequence:
    """Convert a key to a Sequence; return a Sequence unchanged."""
    if isinstance(value, Sequence):
        return value
    if isinstance(value, str):
        return Sequence(value)
    raise InvalidOption(
        f'sequence is {short(value)}; give a key such as "invoice-7", or ph.Sequence(per="customer_id")'
    )


def as_rate(value: object) -> Rate:
    """Convert "100/s" or a table such as {limit = "10/s", per = "tenant"} to a Rate; return a Rate unchanged."""
    if isinstance(value, Rate):
        return value
    if isinstance(value, str):
        return Rate(value)
    if isinstance(value, Mapping):
        return Rate(**_fields(cast("Mapping[object, object]", value), "rate", ("limit", "per", "name", "burst")))  # type: ignore[arg-type]  # checked by Rate
    raise InvalidOption(f'rate is {short(value)}; write "100/s", "10/m" or ph.Rate("10/s", per="tenant")')


def as_concurrency(value: object) -> Concurrency:
    """Convert 20, or a table such as {limit = 1, per = "customer_id"}, to a Concurrency; return one unchanged."""
    if isinstance(value, Concurrency):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Concurrency(value)
    if isinstance(value, Mapping):
        return Concurrency(**_fields(cast("Mapping[object, object]", value), "concurrency", ("limit", "per", "name")))  # type: ignore[arg-type]  # checked by Concurrency
    raise InvalidOption(
        f'concurrency is {short(value)}; write a whole number such as 20, or ph.Concurrency(1, per="customer_id")'
    )


def limit_as_words(limit: Rate | Concurrency) -> object:
    """Return the limit as it is stored and shown: "10/s", 20, or a table."""
    per = f"<{getattr(limit.per, '__name__', 'function')}>" if callable(limit.per) else limit.per
    said = {"per": per, "name": limit.name, "burst": limit.burst if isinstance(limit, Rate) else None}
    said = {name: value for name, value in said.items() if value is not None}
    return {"limit": limit.limit, **said} if said else limit.limit


def _check_text(limit: object) -> None:
    if not isinstance(limit, str):
        raise InvalidOption(f'rate is {short(limit)}; write it as a text: "100/s", "10/m", "500/15m", "1000/d"')
    if len(limit) > MAX_TEXT:
        raise InvalidOption(f'rate is {short(limit)}; write whole jobs per time: "100/s", "10/m"')


@lru_cache(maxsize=1024)
def _parsed_rate(text: str) -> tuple[int, float]:
    """Return the number of jobs and the seconds."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise InvalidOption(f'rate is {short(text)}; write whole jobs per time: "100/s", "10/m", "500/15m", "1000/d"')
    unit = _WORDS.get(found[2].lower().removesuffix("s") if len(found[2]) > 2 else found[2], found[2])
    try:
        seconds = as_timedelta(unit if unit[0].isdigit() else f"1{unit}", name="rate").total_seconds()
    except InvalidOption:
        raise InvalidOption(
            f'rate is {short(text)}, and {short(found[2])} is not a time; write "100/s", "10/m", "500/15m" or "1000/d"'
        ) from None
    count = int(found[1])
    if not 1 <= count <= MAX_LIMIT:
        raise InvalidOption(
            f"rate is {short(text)}; it must let 1 to {MAX_LIMIT:,} jobs through; to stop a queue, pause it"
        )
    if not 0.001 <= seconds <= MAX_SPAN:
        raise InvalidOption(f"rate is {short(text)}; its time must lie between a millisecond and 31 days")
    return count, seconds


def _checked_count(value: object, *, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LIMIT:
        return value
    raise InvalidOption(f"{what} is {short(value)}; it must be a whole number from 1 to {MAX_LIMIT:,}")


def _check_per(per: object, *, what: str) -> None:
    if inspect.iscoroutinefunction(per):
        raise InvalidOption(f"{what} is a coroutine function; every claim calls it, so it must be a plain function")
    if per is None or callable(per) or (isinstance(per, str) and per.isidentifier()):
        return
    raise InvalidOption(f'{what} is {short(per)}; name a parameter of the job or "tenant", or give a function')


def _fields(table: Mapping[object, object], what: str, known: tuple[str, ...]) -> dict[str, object]:
    for name in table:
        if name not in known:
            raise InvalidOption(f"{what} has no part {short(name)}; known are {', '.join(known)}")
    if table.get("limit") is None:
        raise InvalidOption(f"{what} is {short(dict(table))} and has no limit; a table has {', '.join(known)}")
    return {str(name): value for name, value in table.items() if value is not None}
