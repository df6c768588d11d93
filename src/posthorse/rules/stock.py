"""Stocks: what code declares of one, and how many results it lacks. Pure: no store, no clock.

A *shelf* holds results that are alike, and each is taken once. A stock by key holds one result for each key, which is
read by any number of callers. Spans are in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import msgspec

from posthorse.clock import microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import NewJob, Options
from posthorse.rules.unique import fingerprint
from posthorse.rules.values.type_mismatch import short

MAX_LEVEL = 1_000_000
ORDERED_AT_ONCE = 1_000
"""Jobs that one commit orders at most."""

FOR_EVER = 1 << 60
"""The span of a stock without a `ttl`."""

HOLD = 300_000_000
"""For so long a job that ended without a result holds its place, so that a broken `make` does not fill the store."""

MAX_KEY = 200
"""Characters of a key, as JSON; a longer one is stored as its hash."""

REFILL_KIND = "posthorse.refill"
"""The kind of the jobs that refill stocks at the times of a schedule."""


class StockDeclaration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What code declares of a stock, as it is stored.

    call: what is enqueued for a result; by key it lacks the argument `key`, which is the name of a parameter. level:
    how many results a shelf should have; it is refilled when it has fewer than `refill_at`. batch: how many are made at
    the same time. ttl: for how long a result is fresh; stale: for how long after that it is still given, by key.
    """

    name: str
    call: NewJob
    level: int = 0
    refill_at: int = 0
    batch: int | None = None
    ttl: int | None = None
    key: str | None = None
    stale: int = 0

    @property
    def fresh_for(self) -> int:
        """For how long a result is fresh."""
        return FOR_EVER if self.ttl is None else self.ttl

    @property
    def kept_for(self) -> int:
        """After how long a result is of no use any more."""
        return self.fresh_for + self.stale

    def encode(self) -> str:
        """Return the stored form, which is equal for equal declarations."""
        return _encode(self).decode()

    def for_tenant(self, tenant: str) -> NewJob:
        """Return what is enqueued for a tenant; `''` is none."""
        return of_tenant(self.call, tenant)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StockDeclaration).decode


def of_tenant(call: NewJob, tenant: str) -> NewJob:
    """Return what is enqueued for a tenant; `''` is none."""
    if not tenant or tenant == call.tenant:
        return call
    options = msgspec.structs.replace(Options.decode(call.options), tenant=tenant)
    return msgspec.structs.replace(call, tenant=tenant, options=options.encode())


def key_text(arguments: str, *, is_secret: bool) -> str:
    """Return what a result is kept under: the arguments of its job; a hash of them if they are long, or secret."""
    return fingerprint(arguments) if is_secret or len(arguments) > MAX_KEY else arguments


def decode_stock(text: str) -> StockDeclaration:
    """Decode a stored declaration; ignore fields of a newer version."""
    return _decode(text)


class Shelf(NamedTuple):
    """What a shelf holds, counted up to a number: results that are not stale, orders, and jobs without a result that
    hold their places; whether entries are left over to be tidied; since when the oldest result is there.
    """

    made: int
    ordered: int
    failed: int
    left_over: int
    oldest: int | None
    now: int

    @property
    def places(self) -> int:
        """How many of its places are not free."""
        return self.made + self.ordered + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class StockStatus:
    """A stock as it was at one moment. Counts of what happened are of the last day."""

    name: str
    tenant: str | None
    kind: str
    queue: str
    key: str | None
    """The parameter by which results are kept; None for a shelf."""
    level: int
    refill_at: int
    made: int
    """Results that can be taken, or read by key."""
    stale: int
    """Results by key whose `ttl` is over, and that are still there."""
    ordered: int
    """Results that are being made."""
    failed: int
    """Jobs that failed for good, were skipped or cancelled, and hold their places on the shelf for a while."""
    oldest: timedelta | None
    """For how long the oldest result has been there."""
    is_attended: bool
    """Whether a worker that declares it was there within the last minutes."""
    taken: int
    """Results that were taken, or reads by key that found one."""
    missed: int
    """Callers who got nothing."""
    waited: int
    """Callers who got something after they had to wait."""
    expired: int
    """Results that became stale before a caller wanted them: waste."""
    emptied: int
    """Results that were thrown away on request."""
    hit_rate: float | None
    """Which share of the callers got something at once; None if there were none."""
    waste: float | None
    """Which share of the results that left expired or were thrown away; None if none left."""


class Served(NamedTuple):
    """How a stock served its callers: counts of what happened."""

    taken: int = 0
    missed: int = 0
    waited: int = 0
    expired: int = 0
    emptied: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Which share of the callers got something at once; None if there were none."""
        asked = self.taken + self.missed
        return round(max(0, self.taken - self.waited) / asked, 6) if asked else None

    @property
    def waste(self) -> float | None:
        """Which share of the results that left did so without a caller; None if none left."""
        gone = self.expired + self.emptied
        return round(gone / (self.taken + gone), 6) if self.taken + gone else None


class Refill(NamedTuple):
    """How many results to order now, and whether the shelf is still being refilled after that."""

    orders: int
    goes_on: bool


def refill_of(
    stock: StockDeclaration,
    shelf: Shelf,
    *,
    level: int | None = None,
    is_refilling: bool = False,
    to_level: bool = False,
) -> Refill:
    """Return what to order for a shelf.

    A refill begins when the shelf has fewer than `refill_at`, or if `to_level` demands it. It goes on until the level
    is reached, in parts if the stock has a batch. Orders count as if their results were there, so none comes twice.
    level: the live one, which wins over the declared one.
    """
    full = stock.level if level is None else level
    if not (to_level or is_refilling or shelf.places < min(stock.refill_at, full)):
        return Refill(0, False)
    lacking = max(0, full - shelf.places)
    room = ORDERED_AT_ONCE if stock.batch is None else max(0, stock.batch - shelf.ordered)
    orders = min(lacking, room, ORDERED_AT_ONCE)
    return Refill(orders, orders < lacking)


def counted_up_to(stock: StockDeclaration, level: int | None) -> int:
    """Return up to which number the entries of a shelf must be counted."""
    return max(stock.level if level is None else level, stock.batch or 0, 1)


def make_declaration(
    name: str,
    call: NewJob,
    *,
    level: object,
    refill_at: object,
    batch: object,
    ttl: Duration | None,
    key: str | None,
    stale: Duration,
) -> StockDeclaration:
    """Check what is declared of a stock. Raises InvalidOption."""
    _check_call(name, call)
    if key is None:
        full = _checked_count(level, "level", least=1)
        low = full if refill_at is None else _checked_count(refill_at, "refill_at", least=0)
        if low > full:
            raise InvalidOption(
                f"refill_at is {low:,} and level {full:,}; a shelf is refilled when it is below its level"
            )
    else:
        for what, value in (("level", level), ("refill_at", refill_at), ("batch", batch)):
            if value is not None:
                raise InvalidOption(f"{what} is for a shelf; stock {name!r} has a key, and keeps one result for each")
        full = low = 0
    span = None if ttl is None else microseconds(as_timedelta(ttl, name="ttl"))
    if span is not None and span <= 0:
        raise InvalidOption(f"ttl is {short(ttl)}; it must be longer than nothing, or no result could be taken")
    late = microseconds(as_timedelta(stale, name="stale"))
    if late and (key is None or span is None):
        raise InvalidOption("stale says for how long a result by key is given after its ttl; give key and ttl, too")
    few = None if batch is None else _checked_count(batch, "batch", least=1)
    return StockDeclaration(name, call, full, low, few, span, key, late)


def checked_level(level: object) -> int:
    """Check a level that is set in the running system. Raises InvalidOption."""
    return _checked_count(level, "level", least=0)


def checked_count(count: object) -> int:
    """Check how many results are taken at once. Raises InvalidOption."""
    return _checked_count(count, "count", least=1)


def _check_call(name: str, call: NewJob) -> None:
    kind = call.lane.kind
    if call.key is not None:
        raise InvalidOption(f"the call of stock {name!r} has a key, so all its results would be one; leave the key out")
    if call.unique is not None:
        raise InvalidOption(
            f"{kind!r} is unique, so stock {name!r} would get one result at a time; add {kind}.using(unique=False)"
        )
    if call.run_at is not None or call.delay is not None:
        raise InvalidOption(
            f"the call of stock {name!r} has a run_at or a delay; the stock says when results are made, with "
            "level, refill_at, cron and every"
        )


def _checked_count(value: object, name: str, *, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_LEVEL:
        return value
    raise InvalidOption(f"{name} is {short(value)}; it must be a whole number from {least} to {MAX_LEVEL:,}")
