"""Read figures over time: each tally once, day by day, so that a year does not have to fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from posthorse.app.figure_sums import BYS, Sums
from posthorse.app.verbs import Verb, look_over, look_up
from posthorse.clock import SECOND, micros_of, microseconds, moment
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.tallies import DAY, Beside, beside_tallies, day_of, oldest_day, tallies
from posthorse.views.figures import By, DepthPoint, ErrorGroup, Figures, ReleaseMark, StockFigures

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def figures_of(app: Posthorse, since: datetime | Duration, until: datetime | Duration, by: By) -> Verb[Figures]:
    """Read the figures between two moments. Raises InvalidOption."""
    if by not in BYS:
        raise InvalidOption(f"by is {short(by)}; figures can be had by {', '.join(BYS)}")
    now = yield from look_up(app, store_now())
    begin, end = _moment_of(since, now, name="since"), _moment_of(until, now, name="until")
    if begin >= end:
        raise InvalidOption(f"since ({moment(begin)}) must be before until ({moment(end)})")
    sums = Sums(begin, end, by)
    yield from add_up(app, [sums])
    return make_figures(app, sums, (yield from look_over(app, beside_tallies(begin, end))), now)


def add_up(app: Posthorse, sums: Sequence[Sums]) -> Verb[None]:
    """Add each tally to those sums in whose time it lies."""
    begin, end = min(each.since for each in sums), max(each.until for each in sums)
    oldest = yield from look_up(app, oldest_day())
    if oldest is None:
        return
    day = max(day_of(begin), oldest)
    while day < end:
        following = day + DAY * SECOND
        for tally in (yield from look_over(app, tallies(day, min(following, end), beyond=begin))):
            for each in sums:
                each.add(tally)
        day = following


def make_figures(app: Posthorse, sums: Sums, beside: Beside, now: int) -> Figures:
    """Make figures of sums, and of what the same time has beside tallies."""
    errors = [
        ErrorGroup(
            fingerprint=group.fingerprint,
            kind=group.kind,
            type=group.type,
            message=group.message,
            count=group.times,
            within=sums.errors_within(group.fingerprint),
            over_time=sums.errors_over_time(group.fingerprint),
            first_at=moment(group.first_at),
            last_at=moment(group.last_at),
            release=group.release,
            sample=group.sample,
        )
        for group in beside.errors
        if sums.errors_within(group.fingerprint)
    ]
    return Figures(
        since=moment(sums.since),
        until=moment(sums.until),
        by=sums.by,
        rows=sums.rows(now),
        depths=[
            DepthPoint(
                at=moment(depth.at),
                queue=depth.queue,
                waiting=depth.waiting,
                running=depth.running,
                set_aside=depth.scheduled + depth.blocked + depth.paused + depth.failed,
                oldest=None if depth.waited is None else depth.waited / SECOND,
            )
            for depth in beside.depths
        ],
        errors=sorted(errors, key=lambda group: (-group.within, group.fingerprint)),
        releases=[ReleaseMark(name=name, first_at=moment(first_at)) for name, first_at in beside.releases],
        complete_until=moment(min(sums.until, now - round(app.store.tuning.tallies_interval * SECOND))),
        stocks=tuple(StockFigures.of(name, sums.stocks[name]) for name in sorted(sums.stocks)),
    )


def _moment_of(value: datetime | Duration, now: int, *, name: str) -> int:
    """Return a moment that was given as such, or as how long ago it was."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidOption(f"{name} is {short(value)}; it must have a time zone, such as datetime.now(UTC)")
        return micros_of(value.astimezone(UTC))
    return max(0, now - microseconds(as_timedelta(value, name=name)))
