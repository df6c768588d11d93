"""A window of the day, with its time zone, in which a queue runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from posthorse.clock import SECOND, micros_of, moment
from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import change_between

DAY = 24 * 60
CLOSED = "its queue is closed"
"""How the reason of a job begins that left because its queue closed."""

_HOUR = 3600 * SECOND

_TEXT = re.compile(r"(\d{1,2}):(\d{2})\s*[-–]\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?")


class Window(msgspec.Struct, frozen=True):
    """From one minute of the day to another, by the wall clock of a zone; it may cross midnight."""

    starts: int
    ends: int
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{_clock(self.starts)}-{_clock(self.ends)} {self.zone}"

    def is_open(self, now: int) -> bool:
        """Return whether the queue runs at that moment, in microseconds since the epoch."""
        local = moment(now).astimezone(_zone(self.zone))
        minute = local.hour * 60 + local.minute
        if self.starts < self.ends:
            return self.starts <= minute < self.ends
        return minute >= self.starts or minute < self.ends

    def next_change(self, now: int) -> datetime | None:
        """Return when it next opens or closes, in UTC; None if it is always open.

        If clocks are put forward or back, that may be at the change itself: they skip an edge, or show it again.
        """
        is_open = self.is_open(now)
        candidates = sorted(at for at in self._candidates(now) if at > now)
        return next((moment(at) for at in candidates if self.is_open(at) is not is_open), None)

    def why_closed(self, now: int) -> str:
        """Return why jobs do not go on while it is closed, with its next opening in its own time."""
        opens = self.next_change(now)
        return CLOSED if opens is None else f"{CLOSED} until {opens.astimezone(_zone(self.zone)):%H:%M} {self.zone}"

    def _candidates(self, now: int) -> Iterator[int]:
        """Yield all moments of the next days at which it may open or close: its edges, and changes of the clocks."""
        zone = _zone(self.zone)
        today = moment(now).astimezone(zone).date()
        for days in range(-1, 4):  # a day may lack its edges, when the clocks skip them
            for edge in (self.starts, self.ends % DAY):
                at = datetime.combine(today + timedelta(days=days), time(edge // 60, edge % 60), zone)
                yield micros_of(at)
                yield micros_of(at.replace(fold=1))
        for hours in range(4 * 24):
            change = change_between(zone, now + hours * _HOUR, now + (hours + 1) * _HOUR)
            if change is not None:
                yield change


def as_window(value: object) -> Window:
    """Parse a window such as "22:00-06:00 Europe/Berlin"; without a zone it is UTC. Raises InvalidOption."""
    if isinstance(value, Window):
        return value
    found = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise InvalidOption(f'window is {short(value)}; write the hours and a time zone: "22:00-06:00 Europe/Berlin"')
    starts, ends = _minute(value, found[1], found[2]), _minute(value, found[3], found[4])
    if starts % DAY == ends % DAY and (starts, ends) != (0, DAY):
        raise InvalidOption(f"window is {short(value)} and ends when it begins; leave it out for the whole day")
    zone = found[5] or "UTC"
    try:
        _zone(zone)
    except (ValueError, OSError, LookupError):
        raise InvalidOption(
            f"window is {short(value)}, and this machine knows no time zone {short(zone)}; write one such as "
            '"Europe/Berlin"'
        ) from None
    return Window(starts % DAY, ends, zone)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _minute(value: object, hours: str, minutes: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > DAY:
        raise InvalidOption(f"window is {short(value)}, and {hours}:{minutes} is not a time of day")
    return minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
