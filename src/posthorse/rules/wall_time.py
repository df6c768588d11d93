"""Wall time and instants: what a zone's clocks show, and what happens when they are put forward or back.

Instants are integers, microseconds since the epoch; wall times are naive datetimes. This module knows no schedules.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from posthorse.clock import micros_of, microseconds, moment
from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

OF_MACHINES = ("localtime", "posixrules")
"""Names that mean a different zone on each machine."""


def checked_zone(name: object) -> ZoneInfo:
    """Return a zone by its IANA name, such as "Europe/Berlin". Raises InvalidOption, which names the nearest."""
    if name in OF_MACHINES:
        raise InvalidOption(f"tz is {name!r}, which means another zone on each machine; name the zone itself")
    if isinstance(name, str):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, LookupError):  # LookupError: unknown; the others: not a zone's name
            pass
    raise InvalidOption(f"tz is {short(name)}, which is not a time zone{_hint(name)}")


def checked_moment(value: object, *, name: str) -> datetime:
    """Check an aware datetime. Raises InvalidOption."""
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name} is {short(value)}; give an aware datetime")
    try:
        offset = value.utcoffset()
    except ValueError as error:  # a tzinfo may raise any message
        raise InvalidOption(f"{name} has a time zone that cannot be used: {error}") from error
    if offset is None:
        raise InvalidOption(
            f"{name} {value.isoformat()} has no time zone, so it could mean any of 24 hours; "
            "use datetime(…, tzinfo=UTC) or tzinfo=ZoneInfo(…)"
        )
    return value


def checked_instant(value: object, *, name: str) -> int:
    """Convert an aware datetime to an instant. Raises InvalidOption."""
    found = checked_moment(value, name=name)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= found <= datetime(9000, 1, 1, tzinfo=UTC):
        raise InvalidOption(f"{name} {found.isoformat()} lies before 1970 or after the year 9000")
    return micros_of(found)


def offset_at(zone: ZoneInfo, instant: int) -> int:
    """Return how far the clocks are ahead of UTC at an instant, in microseconds."""
    return microseconds(moment(instant).astimezone(zone).utcoffset() or timedelta(0))


def wall_at(zone: ZoneInfo, instant: int) -> datetime:
    """Return what the clocks show at an instant."""
    return moment(instant).astimezone(zone).replace(tzinfo=None, fold=0)


def first_instant(wall: datetime, zone: ZoneInfo) -> int:
    """Return the first instant at which clocks show a wall time; if they skip it, the instant of the skip."""
    before, after = (micros_of(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if wall_at(zone, before) == wall:
        return before
    # In a gap, fold 0 uses the offset before the change, so its instant is after the gap; fold 1 is the reverse.
    leap = change_between(zone, after, before)
    return before if leap is None else leap


def change_between(zone: ZoneInfo, after: int, until: int) -> int | None:
    """Return the instant in (after, until] at which the offset changes from that at `after`; None if both ends agree.

    The two must be so close that there is at most one change.
    """
    offset = offset_at(zone, after)
    if until <= after or offset_at(zone, until) == offset:
        return None
    while until - after > 1:
        middle = (after + until) // 2
        if offset_at(zone, middle) == offset:
            after = middle
        else:
            until = middle
    return until


def _hint(name: object) -> str:
    known = available_timezones()
    if not known:
        return ": this system has no time zone data; install it with `pip install tzdata`"
    by_fold = {zone.casefold(): zone for zone in known}
    told = name if isinstance(name, str) else ""
    near = difflib.get_close_matches(told[:60].casefold().replace(" ", "_"), by_fold, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {by_fold[near[0]]!r}?"
    return '; use an IANA name, such as "UTC", "Europe/Berlin" or "America/New_York"'
