"""When a schedule is due: a cron expression in a zone, an interval, or dates. Pure.

Instants are integers, microseconds since the epoch. An interval counts from its start, or from 1970-01-01 00:00 UTC: it
does not drift, and all processes agree on it. If the clocks skip a time of the day, it comes at the skip, once; if they
show it twice, it comes the first time. A cron expression that means "every so often" depends on elapsed time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import msgspec

from posthorse.clock import SECOND, micros_of, moment
from posthorse.rules.cron import Cron, parse_cron
from posthorse.rules.durations import as_text
from posthorse.rules.wall_time import change_between, checked_zone, first_instant, offset_at, wall_at

_DAY = 86_400 * SECOND


class Timing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A checked timing. `every` is in microseconds, dates are in order; it applies from `start` on and before `end`."""

    cron: str | None = None
    every: int | None = None
    at: tuple[int, ...] = ()
    tz: str = "UTC"
    start: int | None = None
    end: int | None = None

    @property
    def is_repeated(self) -> bool:
        """Whether it means "every so often" rather than named moments."""
        return self.every is not None or (self.cron is not None and parse_cron(self.cron).is_interval)

    def next_after(self, instant: int) -> int | None:
        """Return the first time after an instant; None if there is none."""
        floor = instant if self.start is None else max(instant, self.start - 1)
        if self.cron is not None:
            found = _next_of_cron(parse_cron(self.cron), checked_zone(self.tz), floor)
        elif self.every is not None:
            anchor = self.start or 0
            found = anchor + ((floor - anchor) // self.every + 1) * self.every
        else:
            found = next(iter(self.at[bisect_right(self.at, floor) :]), None)
        return None if found is None or (self.end is not None and found >= self.end) else found

    def times(self, after: int, until: int | None = None) -> Iterator[int]:
        """Yield all times after an instant, up to and including another one, in order."""
        found = self.next_after(after)
        while found is not None and (until is None or found <= until):
            yield found
            found = self.next_after(found)

    def newest(self, after: int, until: int, count: int) -> Sequence[int]:
        """Return the last `count` times in (after, until], in order; the cost does not depend on how long that is."""
        if self.end is not None:
            until = min(until, self.end)
        span = 60 * SECOND if self.every is None else self.every * (count + 1)
        most = 20 * count  # looks through at most so many
        since, too_late = max(after, until - span), until
        too_early: int | None = None
        while True:
            found = list(islice(self.times(since, until), most + 1))
            if len(found) > most:  # many times at the far end of a long span
                too_early, since = since, (since + too_late) // 2
            elif len(found) >= count or since == after:
                return found[-count:]
            elif too_early is not None:
                too_late, since = since, (too_early + since) // 2
            else:
                too_late, since = since, max(after, until - 8 * (until - since))

    def described(self) -> str:
        """Describe in a few words, for a list."""
        if self.cron is not None:
            return self.cron if self.tz == "UTC" else f"{self.cron} {self.tz}"
        if self.every is not None:
            return f"every {as_text(timedelta(microseconds=self.every))}"
        dates = "" if len(self.at) == 1 else f" and {len(self.at) - 1} more"
        return f"{moment(self.at[0]).astimezone(checked_zone(self.tz)):%Y-%m-%d %H:%M}{dates}"


def _next_of_cron(cron: Cron, zone: ZoneInfo, after: int) -> int | None:
    if cron.is_interval:
        return _next_running_through(cron, zone, after)
    # Instants have the order of wall times, so the first wall time that is late enough is the result.
    wall = cron.next_wall(wall_at(zone, after))
    while wall is not None:
        found = first_instant(wall, zone)
        if found > after:
            return found
        wall = cron.next_wall(wall)
    return None


def _next_running_through(cron: Cron, zone: ZoneInfo, after: int) -> int | None:
    """Return the first instant at which the clocks show a matching time, in spite of skips and repetitions.

    It advances from one change of the offset to the next: in between, wall time and instants differ by a constant.
    """
    change = after
    while True:
        offset = offset_at(zone, change)
        wall = cron.next_wall(_shown(after, offset))
        if wall is None:
            return None
        found = micros_of(wall.replace(tzinfo=UTC)) - offset
        next_change = change_between(zone, change, min(found, change + 2 * _DAY))
        if next_change is not None:
            change, after = next_change, next_change - 1
        elif found <= change + 2 * _DAY:
            return found
        else:  # nothing matches on the way: a repetition does not go back by days
            change = after = max(change + _DAY, found - 4 * _DAY)


def _shown(instant: int, offset: int) -> datetime:
    return moment(instant + offset).replace(tzinfo=None)
