"""A window of the day, with its time zone, in which a queue runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from posthorse.clock import moment
from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

DAY = 24 * 60

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

    def next_change(self, now: int) -> datetime:
        """Return when it next opens or closes, to the minute, in UTC."""
        zone, is_open = _zone(self.zone), self.is_open(now)
        local = moment(now).astimezone(zone).replace(second=0, microsecond=0)
        edge = self.ends if is_open else self.starts
        at = local.replace(hour=edge % DAY // 60, minute=edge % 60)
        return (at if at > local else at + timedelta(days=1)).astimezone(UTC)


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
