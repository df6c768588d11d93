"""Durations as people write them: seconds, timedelta, or text such as "90s", "10m", "1h30m", "3d"."""

from __future__ import annotations

import re
from datetime import timedelta

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

Duration = float | timedelta | str

MAX_DURATION = timedelta(days=36_525)

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])\s*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def as_timedelta(value: Duration, *, name: str) -> timedelta:
    """Convert to a timedelta of zero or more; an error names the option `name`. Raises InvalidOption."""
    if isinstance(value, timedelta):
        span = value
    elif isinstance(value, str):
        span = _parse(value, name)
    elif isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f'{name} is {short(value)}; give seconds, a timedelta or text such as "90s"')
    elif not abs(value) <= MAX_DURATION.total_seconds():  # refuses NaN, too
        raise InvalidOption(f"{name} is {short(value)} seconds; it must lie between 0 and 100 years")
    else:
        span = timedelta(seconds=value)
    if not timedelta(0) <= span <= MAX_DURATION:
        raise InvalidOption(f"{name} is {short(value)}; it must lie between 0 and 100 years")
    return span


def as_text(span: timedelta) -> str:
    """Return the shortest text that a user would write: "1h30m", "45s", "250ms"."""
    seconds = span.total_seconds()
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}ms" if seconds else "0s"
    left = round(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def lasted(seconds: float) -> str:
    """Return how long something took, as all messages show it: "<1ms", "250ms", "1m30s"; never negative."""
    if 1e-6 <= seconds < 0.999:  # as most jobs, and without the cost of a timedelta
        milliseconds = round(seconds * 1000)
        return f"{milliseconds}ms" if milliseconds else "<1ms"
    text = as_text(timedelta(seconds=max(0.0, seconds)))
    return "<1ms" if text == "0ms" else text


def _parse(text: str, name: str) -> timedelta:
    stripped = text.strip().lower()
    if _NUMBER.fullmatch(stripped):
        seconds = float(stripped)
    else:
        seconds, end = 0.0, 0
        while part := _PART.match(stripped, end):
            seconds += float(part[1]) * _UNITS[part[2]]
            end = part.end()
        if end != len(stripped) or not stripped:
            raise InvalidOption(
                f'{name} is {short(text)}, which is not a duration; write "90s", "10m", "1h30m" or "3d" '
                "(units: ms s m h d w)"
            )
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidOption(f"{name} is {short(text)}; it must lie between 0 and 100 years")
    return timedelta(seconds=seconds)
