"""Cron expressions: parse them, check them field by field, and walk along wall time.

cronsim, which follows Debian's cron, parses and walks them; only this module imports it. This module adds the nearest
weekday (15W), `?`, the names (@daily), and errors that say what a field accepts. It knows no time zone.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cronsim import CronSim, CronSimError

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

MAX_LENGTH = 200
MAX_WAIT = 50
"""Years without a match after which the search ends. It is cronsim's limit, too."""

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Field(NamedTuple):
    """What a field accepts."""

    name: str
    lowest: int
    highest: int
    also: str = ""


FIELDS = (
    Field("second", 0, 59),
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31, ", L (the last day), LW (the last weekday), 15W (the weekday nearest to the 15th)"),
    Field("month", 1, 12, ", JAN-DEC"),
    Field("day of week", 0, 7, " (0 and 7 are Sunday), SUN-SAT, FRI#2 (the second Friday), FRIL (the last one)"),
)

_DAY, _WEEKDAY = 3, 5
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - wall time
_NEAREST = re.compile(r"(\d{1,2})W")
_NAMED_LAST = re.compile(r"\b(SUN|MON|TUE|WED|THU|FRI|SAT)L\b")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class Cron:
    """A checked expression of five fields, or of six with seconds first."""

    def __init__(self, fields: list[str]) -> None:
        days = fields[_DAY].split(",")
        nearest = [int(found[1]) for found in map(_NEAREST.fullmatch, days) if found]
        plain = [term for term in days if not _NEAREST.fullmatch(term)]
        self._plain = _with_days(fields, ",".join(plain)) if plain else None
        self._nearest = [(day, _with_days(fields, _around(day))) for day in nearest]
        self.is_interval = fields[1].startswith("*") or fields[2].startswith("*")
        """Whether it means "every so often" rather than times of the day: its minute or its hour begins with `*`.
        Debian's cron makes the same distinction.
        """

    def next_wall(self, after: datetime) -> datetime | None:
        """Return the first matching wall time after this one; None if there is none within fifty years."""
        walls = [_next_nearest(expression, after, day) for day, expression in self._nearest]
        if self._plain is not None:
            walls.append(_next(self._plain, after))
        return min((wall for wall in walls if wall is not None), default=None)


def nearest_weekday(year: int, month: int, day: int) -> int | None:
    """Return the day from Monday to Friday nearest to a day, in the same month; None if the month has no such day."""
    last = calendar.monthrange(year, month)[1]
    if day > last:
        return None
    match calendar.weekday(year, month, day):
        case calendar.SATURDAY:
            return day - 1 if day > 1 else day + 2
        case calendar.SUNDAY:
            return day + 1 if day < last else day - 2
        case _:
            return day


def parse_cron(expression: object) -> Cron:
    """Parse and check a cron expression. Raises InvalidOption, which names the field and what it accepts."""
    if not isinstance(expression, str) or len(expression) > MAX_LENGTH:
        raise InvalidOption(f'cron is {short(expression)}; write an expression such as "0 3 * * *"')
    return _parsed(expression)


def cron_in_words(expression: str) -> str:
    """Explain an expression in English. Raises InvalidOption."""
    fields = _fields(expression)
    if _NEAREST.search(fields[_DAY]):
        return expression
    shown = fields if fields[0] != "0" else fields[1:]
    return f"{CronSim(' '.join(shown), _EPOCH).explain()}."


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Cron:
    fields = _fields(expression)
    for place, text in enumerate(fields):
        _check(expression, FIELDS[place], text)
    if _NEAREST.search(fields[_DAY]) and fields[_WEEKDAY] != "*":
        raise InvalidOption(
            f"cron {expression!r} names the nearest weekday and a day of week; write `*` for the day of week"
        )
    try:
        cron = Cron(fields)
        if cron.next_wall(_EPOCH) is not None:
            return cron
    except CronSimError:  # a day that no month has
        pass
    raise InvalidOption(
        f"cron {expression!r} never comes: no day of month {fields[_DAY]} in month {fields[4]} with day of week "
        f"{fields[_WEEKDAY]} for fifty years"
    )


def _fields(expression: str) -> list[str]:
    """Split the expression into six fields, in capitals."""
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in NAMED:
            reason = "belongs to no moment" if text.lower() == "@reboot" else "is not known"
            raise InvalidOption(f"cron {expression!r} {reason}; known are {', '.join(NAMED)}")
        text = NAMED[text.lower()]
    fields = text.upper().split()
    if len(fields) not in (5, 6):
        raise InvalidOption(
            f"cron {expression!r} has {len(fields)} fields; it takes five (minute, hour, day of month, month, day of "
            "week), or six with seconds first"
        )
    if len(fields) == 5:
        fields.insert(0, "0")
    for place in (_DAY, _WEEKDAY):
        fields[place] = "*" if fields[place] == "?" else fields[place]
    fields[_WEEKDAY] = _NAMED_LAST.sub(lambda found: f"{_WEEKDAYS.index(found[1])}L", fields[_WEEKDAY])
    return fields


def _check(expression: str, field: Field, text: str) -> None:
    """Check one field. Raises InvalidOption."""
    wrong = ""
    alone = ["0", "0", "0", "*", "*", "*"]
    place = FIELDS.index(field)
    terms = text.split(",")
    if place == _DAY:
        if any(not 1 <= int(found[1]) <= 31 for found in map(_NEAREST.fullmatch, terms) if found):
            wrong = "cannot be used"
        terms = [term for term in terms if not _NEAREST.fullmatch(term)] or ["*"]
    alone[place] = ",".join(terms)
    try:
        CronSim(" ".join(alone), _EPOCH)
    except (CronSimError, AssertionError, ValueError, IndexError):
        wrong = "cannot be used"
    for step in re.findall(r"/0*([0-9]+)", text):
        if len(step) > 2 or int(step) > field.highest:
            wrong = "has a step longer than the field, so it would not repeat as it seems to"
    if wrong:
        raise InvalidOption(
            f"cron {expression!r}: the {field.name} {text!r} {wrong}; it takes {field.lowest}-{field.highest}"
            f"{field.also}, `*`, lists (1,5), ranges from low to high (1-5) and steps (*/5)"
        )


def _next(expression: str, after: datetime) -> datetime | None:
    try:
        return next(CronSim(expression, after), None)
    except (OverflowError, ValueError):  # after the year 9999
        return None


def _next_nearest(expression: str, after: datetime, day: int) -> datetime | None:
    wall = _next(expression, after)
    while wall is not None and wall.day != nearest_weekday(wall.year, wall.month, day):
        is_near = wall.year <= after.year + MAX_WAIT
        wall = _next(expression, wall.replace(hour=23, minute=59, second=59)) if is_near else None
    return wall


def _with_days(fields: list[str], days: str) -> str:
    return " ".join([*fields[:_DAY], days, *fields[_DAY + 1 :]])


def _around(day: int) -> str:
    """Return the days that may be the nearest weekday to a day, as a cron field."""
    return ",".join(str(near) for near in range(day - 2, day + 3) if 1 <= near <= 31)
