"""Darkness: how long a flight is in the dark, the real work of this example. It knows geometry, but no files or jobs.

The position of the sun is the low-precision one of the Astronomical Almanac (good to 0.01° until 2050). A place is dark
while the centre of the sun is more than 0.833° below its horizon.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import acos, asin, atan2, cos, radians, sin

Vector = tuple[float, float, float]

STEP_MINUTES = 60
_J2000 = datetime.fromisoformat("2000-01-01T12:00:00+00:00")
_HORIZON = sin(radians(-0.833))


def minutes_in_the_dark(start: Vector, end: Vector, departure: datetime, minutes: int) -> int:
    """Look out of the window once per hour of a flight along the great circle from start to end."""
    angle = acos(min(1.0, _dot(start, end)))
    return STEP_MINUTES * sum(
        _dot(_between(start, end, angle, elapsed / minutes), sun(departure + timedelta(minutes=elapsed))) < _HORIZON
        for elapsed in range(0, minutes, STEP_MINUTES)
    )


def place(latitude: float, longitude: float) -> Vector:
    """Return a place on earth as a vector of length 1."""
    north, east = radians(latitude), radians(longitude)
    return cos(north) * cos(east), cos(north) * sin(east), sin(north)


def sun(at: datetime) -> Vector:
    """Return the place where the sun is in the zenith."""
    days = (at - _J2000) / timedelta(days=1)
    anomaly = radians(357.528 + 0.9856003 * days)
    longitude = radians(280.460 + 0.9856474 * days + 1.915 * sin(anomaly) + 0.020 * sin(2 * anomaly))
    tilt = radians(23.439 - 0.0000004 * days)
    ascension = atan2(cos(tilt) * sin(longitude), cos(longitude))
    sidereal = radians((280.46061837 + 360.98564736629 * days) % 360)
    declination, east = asin(sin(tilt) * sin(longitude)), ascension - sidereal
    return cos(declination) * cos(east), cos(declination) * sin(east), sin(declination)


def _between(start: Vector, end: Vector, angle: float, share: float) -> Vector:
    if angle == 0.0:
        return start
    near, far = sin((1 - share) * angle) / sin(angle), sin(share * angle) / sin(angle)
    return near * start[0] + far * end[0], near * start[1] + far * end[1], near * start[2] + far * end[2]


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
