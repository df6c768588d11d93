"""How numbers, shares, durations and moments are written in reports: short, and with one form each. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from posthorse.rules.durations import as_text

NOTHING = "–"
"""What is shown in place of a figure that does not exist."""

_LETTERS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_NAMES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))


def short_count(count: float) -> str:
    """Return a number for an axis: "950", "1.2k", "3M"; beyond that "1.0e+18"."""
    for size, letter in _LETTERS:
        if count >= size:
            return f"{_digits(count / size)}{letter}" if count < 1000 * size else f"{count:.1e}"
    return _digits(count)


def count_in_words(count: int) -> str:
    """Return a number for a sentence: "950", "12,040", "1.2 million"."""
    for size, name in _NAMES:
        if count >= size:
            return f"{_digits(count / size)} {name}"
    return f"{count:,}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 job", "12 jobs"."""
    return f"{count_in_words(count)} {one if count == 1 else many or f'{one}s'}"


def share(part: float, whole: float) -> str:
    """Return a part in percent, so that only nothing is 0 % and only everything is 100 %."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "<0.01 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    decimals = 2 if percent < 1 else 1 if percent < 10 else 0
    text = f"{percent:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if decimals else text} %"


def seconds_as_text(seconds: float | None) -> str:
    """Return a duration in at most two units: "<1ms", "250ms", "1.4s", "2h5m"."""
    if seconds is None:
        return NOTHING
    if seconds <= 0:
        return "0s"
    if seconds < 0.001:
        return "<1ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{_digits(seconds)}s"
    return as_text(timedelta(seconds=seconds))


def span_in_words(span: timedelta) -> str:
    """Return a span for a sentence: "7 days", "hour", "90 minutes", so that it reads well after "the last"."""
    seconds = round(span.total_seconds())
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return unit if count == 1 else f"{count:,} {unit}s"
    return as_text(span)


def minute(at: datetime) -> str:
    """Return a moment in UTC to the minute: "24 Nov 2026 13:05"."""
    return f"{at.astimezone(UTC):%-d %b %Y %H:%M}"


def moment_near(at: datetime, near: datetime) -> str:
    """Return a moment in UTC to the minute, without the year if that of `near` is meant: "24 Nov 13:05"."""
    at, near = at.astimezone(UTC), near.astimezone(UTC)
    is_near = at.year == near.year or timedelta(0) <= near - at < timedelta(days=180)
    return f"{at:%-d %b %H:%M}" if is_near else minute(at)


def _digits(number: float) -> str:
    """Return a number below ten with one decimal unless that is a zero, a larger one without."""
    text = f"{number:.1f}" if number < 9.95 else f"{number:.0f}"
    return text.removesuffix(".0")
