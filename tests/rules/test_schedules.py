"""Schedules: what is refused and how, what is due, and how jitter is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.rules.durations import Duration
from posthorse.rules.schedules import MEMORY, Policies, among_open, comes_again_after, due, jitter_of, remembered_after
from posthorse.rules.timing import Timing

SECOND = 1_000_000
MINUTELY = Timing(every=60 * SECOND)
SOME_DAY = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> ph.Posthorse:
    """Return an application; nothing here needs its store."""
    app = ph.Posthorse("sqlite:////nowhere/at/all.db")
    app.job(kind="report")(report)
    return app


def report() -> None: ...


def call(app: ph.Posthorse) -> ph.Call[object]:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["report"])
    return kind.bind()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "one of cron, every and at; got none"),
        ({"cron": "* * * * *", "every": "1m"}, "got cron and every"),
        ({"cron": "60 * * * *"}, "the minute '60' cannot be used; it takes 0-59"),
        ({"cron": "0 24 * * *"}, "the hour '24' cannot be used; it takes 0-23"),
        ({"cron": "0 0 0 * *"}, "the day of month '0' cannot be used; it takes 1-31"),
        ({"cron": "0 0 * 13 *"}, "the month '13' cannot be used; it takes 1-12, JAN-DEC"),
        ({"cron": "0 0 * * 8"}, "the day of week '8' cannot be used; it takes 0-7"),
        ({"cron": "0 0 * * FRI-MON"}, "ranges from low to high"),
        ({"cron": "0 0 * * L"}, "the day of week 'L' cannot be used"),
        ({"cron": "60 * * * * *"}, "the second '60' cannot be used"),
        ({"cron": "*/0 * * * *"}, "the minute '*/0' cannot be used"),
        ({"cron": "*/90 * * * *"}, "step longer than the field"),
        ({"cron": "1-1000000000 * * * *"}, "the minute '1-1000000000' cannot be used"),
        ({"cron": "1" * 150 + " * * * *"}, "the minute"),
        ({"cron": "* " * 200}, "write an expression such as"),
        ({"cron": "* * * *"}, "has 4 fields; it takes five"),
        ({"cron": "0 0 0 1 1 ? 2030"}, "has 7 fields"),
        ({"cron": ""}, "has 0 fields"),
        ({"cron": 7}, "write an expression such as"),
        ({"cron": ["* * * * *"]}, "write an expression such as"),
        ({"cron": "0 0 * * *", "tz": ["UTC"]}, "is not a time zone"),
        ({"cron": "@reboot"}, "'@reboot' belongs to no moment; known are @yearly"),
        ({"cron": "@dialy"}, "is not known; known are"),
        ({"cron": "0 0 30 2 *"}, "never comes: no day of month 30 in month 2"),
        ({"cron": "0 0 31W 2,4 *"}, "never comes"),
        ({"cron": "0 0 15W * MON"}, "nearest weekday and a day of week"),
        ({"cron": "0 0 32W * *"}, "the day of month '32W' cannot be used"),
        ({"cron": "0 0 * * *", "tz": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
        ({"cron": "0 0 * * *", "tz": "europe/berlin"}, "did you mean 'Europe/Berlin'?"),
        ({"cron": "0 0 * * *", "tz": "../../etc/passwd"}, "is not a time zone"),
        ({"cron": "0 0 * * *", "tz": "Europe"}, "is not a time zone"),
        ({"cron": "0 0 * * *", "tz": ""}, "is not a time zone"),
        ({"cron": "0 0 * * *", "tz": None}, "is not a time zone"),
        ({"every": "0s"}, "a second is the shortest interval"),
        ({"every": 0.5}, "a second is the shortest interval"),
        ({"every": -1}, "must lie between 0 and 100 years"),
        ({"every": "soon"}, "is not a duration"),
        ({"at": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - refused
        ({"at": []}, "give an aware datetime, or several in a list"),
        ({"at": ["2030-01-01"]}, "give an aware datetime"),
        ({"at": "2030-01-01"}, "give an aware datetime"),
        ({"every": "1h", "start": datetime(2030, 1, 1)}, "start 2030-01-01T00:00:00 has no time zone"),  # noqa: DTZ001
        ({"every": "1h", "start": SOME_DAY, "end": SOME_DAY}, "end lies at or before start"),
        ({"at": SOME_DAY, "start": SOME_DAY + timedelta(1)}, "no time between its start and its end"),
        ({"every": "1h", "misfire": "twice"}, "misfire is 'twice'; known are skip, once, all"),
        ({"every": "1h", "misfire": "onec"}, "did you mean 'once'?"),
        ({"every": "1h", "misfire": 1}, "a ph.Misfire"),
        ({"every": "1h", "misfire": ph.Misfire("all", limit=0)}, "from 1 to 10,000"),
        ({"every": "1h", "misfire": ph.Misfire("all", limit=True)}, "from 1 to 10,000"),
        ({"every": "1h", "misfire": ph.Misfire("skip", grace="-1")}, "grace is '-1'"),
        ({"every": "1h", "overlap": "kill"}, "overlap is 'kill'"),
        ({"every": "1h", "jitter": "2h"}, "as long as the interval"),
        ({"cron": "@daily", "jitter": "25h"}, "a day is the longest"),
        ({"every": "1h", "name": ""}, "the name of a schedule"),
        ({"every": "1h", "name": "a\nb"}, "the name of a schedule"),
        ({"every": "1h", "name": "taken"}, "there is a schedule 'taken' already"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, dict) else "",
)
def test_what_cannot_run_is_refused_at_once_with_the_reason(
    app: ph.Posthorse, options: Mapping[str, object], complaint: str
) -> None:
    app.schedule(call(app), name="taken", every="1h")
    with pytest.raises(ph.InvalidOption) as refused:
        app.schedule(call(app), **{"name": "report", **options})  # type: ignore[arg-type]  # wrong on purpose
    assert complaint in str(refused.value)


def test_a_system_without_zone_data_is_told_what_to_install(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorse.rules.wall_time.available_timezones", set)
    with pytest.raises(ph.InvalidOption, match="install it with `pip install tzdata`"):
        app.schedule(call(app), name="report", cron="@daily", tz="Europe/Nowhere")


def test_calls_that_no_schedule_can_repeat_are_refused(app: ph.Posthorse) -> None:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["report"])
    other = ph.Posthorse("sqlite:////nowhere/else.db")
    with pytest.raises(ph.InvalidOption, match="has a key"):
        app.schedule(kind.using(key="k").bind(), name="report", every="1h")
    with pytest.raises(ph.InvalidOption, match="has a run_at or a delay"):
        app.schedule(kind.using(delay="1m").bind(), name="report", every="1h")
    with pytest.raises(ph.InvalidOption, match="another application"):
        other.schedule(kind.bind(), name="report", every="1h")
    with pytest.raises(ph.InvalidOption, match="needs a call"):
        app.schedule(kind, name="report", every="1h")  # type: ignore[arg-type]  # wrong on purpose


def test_the_next_times_are_told_in_the_zone_of_the_schedule_without_a_store(app: ph.Posthorse) -> None:
    schedule = app.schedule(call(app), name="report", cron="0 3 * * *", tz="Asia/Tokyo")
    times = schedule.next(3)
    assert [time.strftime("%H:%M %z") for time in times] == ["03:00 +0900"] * 3
    assert times[1] - times[0] == timedelta(days=1)
    with pytest.raises(ph.InvalidOption, match="from 1 to 1,000"):
        schedule.next(0)


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.sampled_from(["skip", "once", "all"]), st.integers(1, 200))
def test_what_is_due_lies_behind_what_was_dealt_with_and_never_ahead(
    handled_until: int, now: int, misfire: str, limit: int
) -> None:
    policies = Policies(misfire=misfire, limit=limit)  # type: ignore[arg-type]  # one of them
    found = due(MINUTELY, policies, handled_until=handled_until, now=now)
    if found is None:
        assert now < (handled_until // (60 * SECOND) + 1) * 60 * SECOND
        return
    assert all(handled_until < time <= now for time in found.times)
    assert list(found.times) == sorted(set(found.times))
    assert now - 60 * SECOND < found.handled_until <= now, "everything up to now is dealt with"
    assert len(found.times) <= {"skip": 1, "once": 1, "all": limit}[misfire] or found.missed_since is None


def test_late_is_not_missed() -> None:
    times = [number * 60 * SECOND for number in (1, 2, 3)]
    patient = Policies(misfire="skip", grace=600 * SECOND)
    found = due(MINUTELY, patient, handled_until=0, now=times[-1] + SECOND)
    assert found is not None
    assert (list(found.times), found.missed_since) == (times, None)


@given(st.integers(0, 10**16), st.integers(1, 10**11))
def test_jitter_is_the_same_for_all_and_below_its_limit(time: int, longest: int) -> None:
    drawn = jitter_of("report", time, longest=longest)
    assert 0 <= drawn < longest
    assert drawn == jitter_of("report", time, longest=longest)


def test_jitter_spreads_schedules_and_times() -> None:
    names = {jitter_of(f"report-{number}", 0, longest=10**9) for number in range(100)}
    times = {jitter_of("report", number, longest=10**9) for number in range(100)}
    assert len(names) == len(times) == 100
    assert min(times) < 10**8 < 9 * 10**8 < max(times)


def test_no_duration_is_lost_on_the_way() -> None:
    spans: list[Duration] = ["1s", 1.5, timedelta(days=400)]
    app = ph.Posthorse("sqlite:////nowhere/at/all.db")
    app.job(kind="report")(report)
    for number, span in enumerate(spans):
        one, two = app.schedule(call(app), name=f"{number}", every=span).next(2)
        assert two - one == (span if isinstance(span, timedelta) else timedelta(seconds=float(str(span).rstrip("s"))))


def test_of_times_that_are_due_at_once_the_first_runs_where_runs_must_not_overlap() -> None:
    assert among_open("skip", [1, 2, 3], is_open=False) == [1]
    assert among_open("skip", [1, 2, 3], is_open=True) == ()
    assert among_open("cancel", [1, 2, 3], is_open=True) == [3]
    assert among_open("allow", [1, 2, 3], is_open=True) == [1, 2, 3]


HOURS = 3_600 * SECOND
DAILY = Timing(cron="0 3 * * *")


@pytest.mark.parametrize(
    ("timing", "back", "after"),
    [
        (Timing(every=HOURS), 5 * HOURS, HOURS // 2),
        (Timing(every=HOURS), 2 * SECOND, HOURS // 2),
        (Timing(every=HOURS, end=2 * HOURS), 5 * HOURS, None),
        (Timing(cron="*/10 * * * *"), 5 * HOURS, HOURS // 12),
        (Timing(cron="0 * * * *"), 5 * HOURS, HOURS // 2),
        (DAILY, 3 * HOURS, None),
        (DAILY, 3 * HOURS + 1, 0),
        (Timing(at=(HOURS, 30 * HOURS)), 30 * HOURS, None),
    ],
    ids=str,
)
def test_which_times_come_again_after_a_clock_was_set_back(timing: Timing, back: int, after: int | None) -> None:
    assert comes_again_after(timing, handled_until=back, now=0) == after


def test_two_days_or_a_thousand_times_are_remembered_and_dates_for_ever() -> None:
    now = 10**15
    assert remembered_after(MINUTELY, now) == now - MEMORY
    assert remembered_after(DAILY, now) == now - 1_000 * 24 * HOURS
    assert remembered_after(Timing(cron="0,1 3 * * *"), now) < now - 400 * 24 * HOURS
    assert remembered_after(Timing(at=(now,)), now) == 0
