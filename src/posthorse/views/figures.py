"""How figures over time are shown: what was done, how long it waited and ran, how deep queues were, which errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Self

from posthorse.rules.stock import Served
from posthorse.rules.tallies import Measured, percentile
from posthorse.views.base import View

By = Literal["kind", "queue", "tenant", "minute", "hour", "day"]
"""What rows of figures are made for."""


class Spread(View, frozen=True, kw_only=True):
    """How long something took, in seconds. Half took `p50` at most, 99 of 100 `p99`.

    Percentiles and `longest` are within 10 percent, because they come from a histogram. Of more than a hundred jobs a
    second of one kind in one process, one of eight is measured.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    longest: float

    @classmethod
    def of(cls, measured: Measured) -> Self | None:
        """Show times that were measured; None if there are none."""
        count = sum(measured.over.values())
        if not count:
            return None
        p50, p90, p99, longest = (round(percentile(measured.over, share) / 1e6, 6) for share in (0.5, 0.9, 0.99, 1.0))
        return cls(p50=p50, p90=p90, p99=p99, mean=round(measured.total / count / 1e6, 6), longest=longest)


class FigureRow(View, frozen=True, kw_only=True):
    """What happened to the jobs of a kind, a queue or a tenant, or within a minute, an hour or a day.

    key: the name, or the beginning in RFC 3339. began_at: the beginning; None unless the row is for a time.
    started: attempts that began. completed, failed, cancelled: jobs that ended so; failed means for good.
    retried: attempts that failed and are repeated. lost: attempts that ended with their process.
    rate: completed jobs a second.
    waited: from when a job could have run to its start; ran: from there to its end. None if there is nothing to tell.
    """

    key: str
    began_at: datetime | None
    started: int
    completed: int
    failed: int
    retried: int
    lost: int
    cancelled: int
    rate: float
    waited: Spread | None
    ran: Spread | None


class DepthPoint(View, frozen=True, kw_only=True):
    """How deep a queue was at a moment. oldest: for how many seconds its first job had waited.

    waiting, running, set_aside: how many jobs; set aside are those that are scheduled, blocked, paused, or failed for
    good. Each number is counted up to 10,000.
    """

    at: datetime
    queue: str
    waiting: int
    running: int
    set_aside: int
    oldest: float | None


class ErrorCount(View, frozen=True, kw_only=True):
    """How many errors of a group occurred within a minute, an hour or a day."""

    began_at: datetime
    count: int


class ErrorGroup(View, frozen=True, kw_only=True):
    """Errors of one kind that are alike. message: of one of them, without its numbers, quoted texts and ids.

    count: of all, since the first. within: how many occurred in the time of the figures. over_time: those by minute,
    hour or day, if the rows are. release: the release of the application in which it first occurred.
    sample: a job that failed with it.
    """

    fingerprint: str
    kind: str
    type: str
    message: str
    count: int
    within: int
    over_time: list[ErrorCount]
    first_at: datetime
    last_at: datetime
    release: str | None
    sample: str


class ReleaseMark(View, frozen=True, kw_only=True):
    """When the first runner of a release of the application started."""

    name: str
    first_at: datetime


class StockFigures(View, frozen=True, kw_only=True):
    """How a stock served its callers.

    taken: results that were taken, or reads by key that found one. missed: callers who got nothing; waited: those who
    got something late. expired, emptied: results that left without a caller. hit_rate: which share of the callers got
    one at once. waste: which share of the results that left had no caller. Both are None if there is nothing to tell.
    """

    name: str
    taken: int
    missed: int
    waited: int
    expired: int
    emptied: int
    hit_rate: float | None
    waste: float | None

    @classmethod
    def of(cls, name: str, counts: Mapping[str, int]) -> Self:
        """Show what was counted."""
        served = Served(**{field: counts.get(field, 0) for field in Served._fields})
        return cls(name=name, **served._asdict(), hit_rate=served.hit_rate, waste=served.waste)


class Figures(View, frozen=True, kw_only=True):
    """What happened between two moments. Figures up to `complete_until` are complete; later ones may be on their way.

    rows: by name or by time, in order. errors: the groups that occurred in that time, most frequent first. stocks:
    those of which something is counted, by name.
    """

    since: datetime
    until: datetime
    by: By
    rows: list[FigureRow]
    depths: list[DepthPoint]
    errors: list[ErrorGroup]
    releases: list[ReleaseMark]
    complete_until: datetime
    stocks: tuple[StockFigures, ...] = ()
