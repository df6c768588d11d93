"""Scales: from values to places on an axis, and the values at which an axis has a tick."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from posthorse.views.quantities import seconds_as_text, short_count

MAX_TICKS = 5
MAX_TIMES = 8

_DURATIONS = (
    0.001,
    0.01,
    0.1,
    1.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
    31_536_000.0,
)
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 7 * 1440, 14 * 1440)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200)


class Tick(NamedTuple):
    """A tick: where it is, as a part of the axis from 0 to 1, and what is written there."""

    place: float
    text: str


class Scale(NamedTuple):
    """An axis of values: from `low` to `high`, logarithmic or not, with its ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    is_logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value is, as a part of the axis; what lies outside is at its end."""
        if self.is_logarithmic:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, part))


def counts(largest: float) -> Scale:
    """Return an axis from zero for whole numbers up to `largest`, ending at a round one."""
    step = _round_step(max(1.0, largest) / (MAX_TICKS - 1))
    steps = max(1, math.ceil(largest / step))
    return Scale(0, steps * step, tuple(Tick(each / steps, short_count(each * step)) for each in range(steps + 1)))


def durations(smallest: float, largest: float) -> Scale:
    """Return a logarithmic axis of seconds: durations of milliseconds and of hours are both readable on it."""
    low = max((each for each in _DURATIONS if each <= smallest), default=_DURATIONS[0])
    high = min((each for each in _DURATIONS if each >= largest and each > low), default=max(largest, 2 * low))
    scale = Scale(low, high, (), is_logarithmic=True)
    within = [each for each in _DURATIONS if low <= each <= high]
    every = math.ceil(len(within) / (MAX_TICKS + 1))
    ticks = tuple(Tick(scale.place(each), seconds_as_text(each)) for each in within[::every])
    return scale._replace(ticks=ticks)


class TimeAxis:
    """The axis of time from `since` to `until`, in UTC; its ticks are at round minutes, hours, days or months."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self.since = since.astimezone(UTC)
        self.until = max(until.astimezone(UTC), self.since + timedelta(seconds=1))
        self._length = self.until - self.since

    def place(self, at: datetime) -> float:
        """Return where a moment is, as a part of the axis; what lies outside is at its end."""
        return min(1.0, max(0.0, (at - self.since) / self._length))

    def ticks(self) -> list[Tick]:
        """Return at most eight ticks."""
        for minutes in _MINUTES:
            if self._length / timedelta(minutes=minutes) <= MAX_TIMES - 1:
                text = "%H:%M" if minutes < 1440 else "%-d %b"
                return [Tick(self.place(at), _time(at, text)) for at in self._at_minutes(minutes)]
        months = next(
            (each for each in _MONTHS if self._length / timedelta(days=30.4 * each) <= MAX_TIMES - 1), _MONTHS[-1]
        )
        text = "%b %Y" if months < 12 else "%Y"
        return [Tick(self.place(at), at.strftime(text)) for at in self._at_months(months)]

    def _at_minutes(self, minutes: int) -> Iterator[datetime]:
        step = timedelta(minutes=minutes)
        first = self.since.replace(hour=0, minute=0, second=0, microsecond=0)
        at = first + math.ceil((self.since - first) / step) * step
        while at <= self.until:
            yield at
            at += step

    def _at_months(self, months: int) -> Iterator[datetime]:
        number = self.since.year * 12 + self.since.month - 1
        number = math.ceil(number / months) * months
        while number < 9999 * 12:
            at = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
            if at > self.until:
                return
            if at >= self.since:
                yield at
            number += months


def _time(at: datetime, form: str) -> str:
    """Return the text of a tick; midnight among hours is the day that begins."""
    return at.strftime("%-d %b") if (at.hour, at.minute) == (0, 0) else at.strftime(form)


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … that is at least so much."""
    power = 10.0 ** math.floor(math.log10(least))
    return max(1.0, next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9)))
