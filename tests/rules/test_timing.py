"""Timing of schedules: compared with a walk minute by minute, in zones whose clocks leap, repeat, and skip a day."""

from __future__ import annotations

import time
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from posthorse.clock import micros_of, moment
from posthorse.errors import InvalidOption
from posthorse.rules.cron import nearest_weekday
from posthorse.rules.schedules import make_timing
from posthorse.rules.timing import Timing

MINUTE = timedelta(minutes=1)

# ruff: noqa: DTZ001 - wall times have no zone
AROUND = {
    "Europe/Berlin": (datetime(2026, 3, 29), datetime(2026, 10, 25)),
    "America/New_York": (datetime(2026, 3, 8), datetime(2026, 11, 1)),
    "Australia/Lord_Howe": (datetime(2026, 4, 5), datetime(2026, 10, 4)),  # half an hour
    "Pacific/Apia": (datetime(2011, 12, 30), datetime(2011, 9, 24)),  # a day that was not
    "Africa/Casablanca": (datetime(2026, 2, 15), datetime(2026, 3, 22)),
    "America/Scoresbysund": (datetime(2024, 3, 31),),  # a change of zone at the change of time
    "UTC": (datetime(2028, 2, 29),),
}


def cron(expression: str, tz: str = "UTC") -> Timing:
    return make_timing(cron=expression, every=None, at=None, tz=tz, start=None, end=None)


def shown(timing: Timing, after: str, count: int, tz: str = "UTC") -> list[str]:
    """Return the next times after a wall time, as wall times with their offset; a repeated one needs its own."""
    zone, since = ZoneInfo(tz), datetime.fromisoformat(after)
    since = since if since.tzinfo is not None else since.replace(tzinfo=zone)
    times = islice(timing.times(micros_of(since), micros_of(datetime(2200, 1, 1, tzinfo=UTC))), count)
    return [moment(time).astimezone(zone).isoformat(timespec="minutes") for time in times]


# ── against a walk ───────────────────────────────────────────────────────────────────────────────────


@st.composite
def values(draw: st.DrawFn, lowest: int, highest: int) -> tuple[str, frozenset[int]]:
    """Draw a field and what it matches."""
    one = st.integers(lowest, highest)
    match draw(st.sampled_from(["*", "*/n", "list", "range"])):
        case "*":
            return "*", frozenset(range(lowest, highest + 1))
        case "*/n":
            step = draw(st.integers(1, highest))
            return f"*/{step}", frozenset(range(lowest, highest + 1, step))
        case "list":
            chosen = draw(st.lists(one, min_size=1, max_size=3))
            return ",".join(map(str, chosen)), frozenset(chosen)
        case _:
            first, last = sorted((draw(one), draw(one)))
            return f"{first}-{last}", frozenset(range(first, last + 1))


Fields = Sequence[tuple[str, frozenset[int]]]
expressions = st.tuples(values(0, 59), values(0, 23), values(1, 31), values(1, 12), values(0, 6))
# Most random dates are far from the changes of time, which happen at night.
nights = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(
    lambda chosen: (",".join(map(str, chosen)), frozenset(chosen))
)
EVERY = (("*", frozenset(range(1, 32))), ("*", frozenset(range(1, 13))), ("*", frozenset(range(7))))
nightly = st.tuples(values(0, 59), nights, *map(st.just, EVERY))


def matches(fields: Fields, wall: datetime) -> bool:
    minute, hour, day, month, weekday = fields
    in_month, in_week = wall.day in day[1], (wall.weekday() + 1) % 7 in weekday[1]
    both = day[0].startswith("*") or weekday[0].startswith("*")
    on_day = (in_month and in_week) if both else (in_month or in_week)
    return wall.minute in minute[1] and wall.hour in hour[1] and wall.month in month[1] and on_day


def walked(fields: Fields, name: str, day: datetime) -> list[int]:
    """Return what cron says about each minute around a day, by looking at each minute."""
    minutes = shown_around(name, day)
    if fields[0][0].startswith("*") or fields[1][0].startswith("*"):
        return [instant for instant, wall in minutes[1:] if matches(fields, wall)]
    found: set[int] = set()
    seen = minutes[0][1]
    for instant, wall in minutes[1:]:
        while seen < wall:  # one step, or all that a leap passes over
            seen += MINUTE
            if matches(fields, seen):
                found.add(instant)
    return sorted(found)


@cache
def shown_around(name: str, day: datetime) -> list[tuple[int, datetime]]:
    """Return every minute from the day before to the day after, and what the clocks show."""
    zone = ZoneInfo(name)
    since, until = ((day + timedelta(days=days)).replace(tzinfo=zone).astimezone(UTC) for days in (-1, 2))
    instants = [since + MINUTE * number for number in range((until - since) // MINUTE + 1)]
    return [(micros_of(instant), instant.astimezone(zone).replace(tzinfo=None)) for instant in instants]


places = st.sampled_from([(name, day) for name, days in AROUND.items() for day in days])


@settings(max_examples=50, deadline=None)
@given(places, expressions | nightly)
def test_a_cron_expression_means_what_a_walk_minute_by_minute_finds(
    place: tuple[str, datetime], fields: Fields
) -> None:
    name, day = place
    try:
        timing = cron(" ".join(text for text, _ in fields), name)
    except InvalidOption:
        return  # the time never comes
    minutes = shown_around(name, day)
    assert list(timing.times(minutes[0][0], minutes[-1][0])) == walked(fields, name, day)


@settings(max_examples=30, deadline=None)
@given(places, expressions | nightly, st.lists(st.integers(-(10**13), 10**13), min_size=2, max_size=4))
def test_from_wherever_one_looks_the_times_are_the_same(
    place: tuple[str, datetime], fields: Fields, moments: Sequence[int]
) -> None:
    """The next time never goes back as the clock goes on, and none lies between the moment and it."""
    try:
        timing = cron(" ".join(text for text, _ in fields), place[0])
    except InvalidOption:
        return
    around = micros_of(place[1].replace(tzinfo=UTC))
    coming = [timing.next_after(around + since) for since in sorted(moments)]
    for since, found in zip(sorted(moments), coming, strict=True):
        assert found is not None
        assert found > around + since
        assert timing.next_after(found - 1) == found
    assert coming == sorted(coming, key=lambda found: found or 0)


# ── changes of time, one by one ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "tz", "after", "expected"),
    [
        # The clocks leap from 02:00 to 03:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        ("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        # They are set back from 03:00 to 02:00.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        # Seen from within the repetition, after the first 02:30 and before the second.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:30+02:00", ["2026-10-26T02:30+01:00"]),
        ("0 30 2 * * *", "Europe/Berlin", "2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00"]),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00", "2026-10-25T03:00+01:00"],
        ),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        # By half an hour, and by a day.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"]),
        # The repeated hour must not be hidden by the same wall time of next year.
        ("* 2 25 10 *", "Europe/Berlin", "2026-10-25T02:59", ["2026-10-25T02:00+01:00", "2026-10-25T02:01+01:00"]),
    ],
)
def test_what_happens_where_clocks_change(expression: str, tz: str, after: str, expected: list[str]) -> None:
    assert shown(cron(expression, tz), after, len(expected), tz) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 LW * *", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 0 15W * *", ["2026-01-15", "2026-02-16", "2026-03-16", "2026-04-15", "2026-05-15"]),
        ("0 0 1W,15 * *", ["2026-01-15", "2026-02-02", "2026-02-15", "2026-03-02", "2026-03-15"]),
        ("0 0 31W * *", ["2026-01-30", "2026-03-31", "2026-05-29"]),
        ("0 0 * * FRI#2", ["2026-01-09", "2026-02-13"]),
        ("0 0 * * 5L", ["2026-01-30", "2026-02-27"]),
        ("0 0 ? jan,feb friL", ["2026-01-30", "2026-02-27", "2027-01-29"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29"]),
        ("0 0 13 * FRI", ["2026-01-02", "2026-01-09", "2026-01-13"]),
        ("@monthly", ["2026-02-01", "2026-03-01"]),
    ],
)
def test_days_of_a_month(expression: str, expected: list[str]) -> None:
    assert [time[:10] for time in shown(cron(expression), "2026-01-01T00:00", len(expected))] == expected


def test_the_nearest_weekday_lies_in_the_same_month() -> None:
    for month in range(1, 13):
        for day in range(1, monthrange(2027, month)[1] + 1):
            near = nearest_weekday(2027, month, day)
            assert near is not None
            found = datetime(2027, month, near, tzinfo=UTC)
            assert found.weekday() < 5
            assert abs(near - day) <= (2 if day in (1, monthrange(2027, month)[1]) else 1)


def test_six_fields_begin_with_seconds() -> None:
    assert [moment(time).second for time in islice(cron("*/20 * * * * *").times(0), 4)] == [20, 40, 0, 20]


@pytest.mark.parametrize("expression", ["0 0 29 2 MON#5", "* * * 15W * *", "59 59 23 31 12 *", "* * 29 2 *"])
def test_rare_times_are_found_quickly(expression: str) -> None:
    began = time.thread_time()
    timing = cron(expression, "America/New_York")
    assert len(timing.newest(0, micros_of(datetime(2026, 1, 1, tzinfo=UTC)), 1)) == 1
    assert time.thread_time() - began < 2.0


# ── intervals and dates ──────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 10**6), st.none() | st.integers(0, 2 * 10**15), st.integers(0, 2 * 10**15))
def test_an_interval_never_drifts(seconds: int, start: int | None, after: int) -> None:
    every = seconds * 1_000_000
    found = Timing(every=every, start=start).next_after(after)
    assert found is not None
    assert (found - (start or 0)) % every == 0
    assert found == start or after < found <= max(after, start or 0) + every


def test_newest_gives_the_end_of_all_times() -> None:
    timings = [
        cron("*/7 3 * * *", "Europe/Berlin"),
        Timing(every=7_000_000_000),
        Timing(at=tuple(range(0, 10**12, 10**10))),
        Timing(every=10**10, start=5, end=10**12),
        cron("*/10 * * 1 1 *"),
    ]
    for timing in timings:
        every = list(timing.times(10**9, 2 * 10**12))
        for count in (1, 3, 50):
            assert list(timing.newest(10**9, 2 * 10**12, count)) == every[-count:]


@given(
    st.sampled_from([Timing(every=7), Timing(cron="* * * * * *"), Timing(at=tuple(range(0, 10**8, 10**6)))]),
    st.integers(0, 60),
    st.integers(1, 60),
    st.integers(-1, 100),
)
def test_the_times_between_start_and_end_are_those_of_the_same_timing_without_them(
    timing: Timing, start: int, span: int, after: int
) -> None:
    """From the start itself on, and before the end; an interval counts from its start."""
    step = 1 if timing.every is not None else 10**6
    bounded = replace(timing, start=start * step, end=(start + span) * step)
    shift = start * step if timing.every is not None else 0
    times = [time + shift for time in timing.times(-1, 2 * 10**8 if step > 1 else 200)]
    expected = [time for time in times if start * step <= time < (start + span) * step and time > after * step]
    assert list(bounded.times(after * step)) == expected
    assert list(bounded.newest(after * step, 10**9, 3)) == expected[-3:]
