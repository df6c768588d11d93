"""Settings of queues: one vocabulary, layers, windows of the day, and depth without counting each time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.clock import micros_of, moment
from posthorse.rules.queue_depth import PART, QUICK, TRUST, Gauge
from posthorse.rules.queues import (
    DeclaredQueues,
    checked_layer,
    checked_layers,
    checked_live_layer,
    layer_as_words,
    layer_from_words,
    settings_in_words,
    settings_of,
)
from posthorse.rules.window import as_window

EVERYTHING = {
    "max_depth": 1000,
    "order": "lifo",
    "weight": 3,
    "max_duration": "6h",
    "labels": {"zone": "a"},
    "rate": {"limit": "10/s", "per": "tenant"},
    "concurrency": 20,
    "window": "22:00-06:00 Europe/Berlin",
    "ageing": "10m",
    "paused": True,
}


def at(text: str) -> int:
    return micros_of(datetime.fromisoformat(text))


def test_all_settings_read_back_as_they_were_stored() -> None:
    layer = checked_layer(EVERYTHING, queue="mail")
    assert layer_from_words(layer_as_words(layer)) == layer
    settings = settings_of(layer)
    assert (settings.weight, settings.max_duration, settings.order) == (3, 21_600.0, "lifo")
    assert settings_in_words(settings)["window"] == "22:00-06:00 Europe/Berlin"
    assert set(settings_in_words(settings)) == set(EVERYTHING)


def test_the_words_of_hardware_mean_settings_of_ours() -> None:
    said = checked_layers({"slow": {"max_duration": "6h", "worker_count": 10, "instance_type": "c5.xlarge"}})
    settings = settings_of(said["slow"])
    assert settings.concurrency == ph.Concurrency(10)
    assert settings.labels == {"instance_type": "c5.xlarge"}
    both = checked_layer({"labels": {"zone": "a"}, "instance_type": "t3"}, queue="q")
    assert both == {"labels": {"zone": "a", "instance_type": "t3"}}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"wieght": 3}, "did you mean 'weight'"),
        ({"nonsense": 3}, "known are max_depth, order"),
        ({"draining": True}, "no setting 'draining'"),
        ({"weight": 0}, "weight is 0"),
        ({"weight": True}, "weight is True"),
        ({"weight": "3"}, "weight is '3'"),
        ({"max_depth": -1}, "max_depth is -1"),
        ({"order": "random"}, "newest first"),
        ({"max_duration": 0}, "longer than zero"),
        ({"max_duration": "soon"}, "is not a duration"),
        ({"labels": {"zone": 3}}, "must be texts"),
        ({"labels": "zone"}, "write NAME=VALUE"),
        ({"labels": "zone=a,zone=b"}, "two values"),
        ({"rate": "10"}, "jobs per time"),
        ({"concurrency": 0}, "whole number"),
        ({"worker_count": 3, "concurrency": 4}, "twice, as 'worker_count' and as 'concurrency'"),
        ({"window": "22-06"}, "time zone"),
        ({"window": "25:00-06:00"}, "not a time of day"),
        ({"window": "06:00-06:00"}, "ends when it begins"),
        ({"window": "22:00-06:00 Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"window": "22:00-06:00 ../../etc/passwd"}, "no time zone"),
        ({"ageing": -1}, "ageing is -1"),
        ({"paused": "yes"}, "true or false"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(said: dict[str, object], message: str) -> None:
    with pytest.raises(ph.InvalidOption, match=message) as caught:
        checked_layer(said, queue="mail")
    assert "'mail'" in str(caught.value)


@pytest.mark.parametrize("said", [3, [], "mail", {"mail": 3}, {3: {}}, {"": {}}, {"a*": {}}])
def test_a_file_must_hold_a_table_for_each_queue(said: object) -> None:
    with pytest.raises(ph.InvalidOption):
        checked_layers(said)


def test_a_store_holds_no_functions() -> None:
    assert checked_layer({"rate": ph.Rate("1/s", per=len)}, queue="mail")
    with pytest.raises(ph.InvalidOption, match="cannot hold code"):
        checked_live_layer({"rate": ph.Rate("1/s", per=len)}, queue="mail")


def test_the_file_wins_over_code_and_the_live_store_over_both() -> None:
    declared = DeclaredQueues()
    declared.declare("mail", {"weight": 2, "max_depth": 10})
    declared.declare("mail", {"order": "lifo"})
    declared.read_file({"mail": {"weight": 3}})
    settings = declared.settings({"mail": {"max_depth": None}, "other": {"paused": True}})
    assert (settings["mail"].weight, settings["mail"].order, settings["mail"].max_depth) == (3, "lifo", None)
    assert settings["other"].paused


def test_what_a_newer_version_said_is_left_aside() -> None:
    assert layer_from_words({"weight": 2, "colour": "blue"}) == {"weight": 2}


@pytest.mark.parametrize(
    ("timeout", "can_keep", "ceiling"), [(90, True, 60), (30, True, 30), (None, True, 60), (None, False, None)]
)
def test_the_longest_duration_is_a_ceiling(timeout: float | None, can_keep: bool, ceiling: float | None) -> None:
    assert ph.QueueSettings(max_duration=60).ceiling(timeout, can_keep=can_keep) == ceiling
    assert ph.QueueSettings().ceiling(timeout, can_keep=can_keep) == timeout


def test_a_worker_fits_when_it_has_all_labels() -> None:
    asks = ph.QueueSettings(labels={"zone": "a", "gpu": "yes"})
    assert asks.fits({"zone": "a", "gpu": "yes", "more": "x"})
    assert not asks.fits({"zone": "a", "gpu": "no"})
    assert not asks.fits({})
    assert ph.QueueSettings().fits({})


def test_a_window_over_midnight_follows_the_wall_clock_of_its_zone() -> None:
    night = as_window("22:00-06:00 Europe/Berlin")
    assert night.is_open(at("2026-01-15T21:30+00:00"))  # 22:30 there
    assert not night.is_open(at("2026-01-15T20:30+00:00"))
    assert night.is_open(at("2026-07-15T20:30+00:00"))  # summer: 22:30 there
    assert not night.is_open(at("2026-07-15T04:00+00:00"))  # the end is outside
    assert night.next_change(at("2026-01-15T20:30+00:00")) == datetime(2026, 1, 15, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "change"),
    [
        ("22:00-06:00", "2026-01-15T23:30+01:00", "2026-01-16T06:00+01:00"),
        ("22:00-06:00", "2026-01-16T06:00+01:00", "2026-01-16T22:00+01:00"),
        # On 29 March clocks go from 02:00 to 03:00: an edge in between comes at the change.
        ("22:00-02:30", "2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"),
        ("02:30-06:00", "2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"),
        # There is no window on that day if it lies in the skipped hour.
        ("02:10-02:50", "2026-03-28T03:00+01:00", "2026-03-30T02:10+02:00"),
        # On 25 October clocks go from 03:00 back to 02:00, so a window that ends at 02:30 is open twice.
        ("22:00-02:30", "2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00"),
        ("22:00-02:30", "2026-10-25T02:40+02:00", "2026-10-25T02:00+01:00"),
        ("22:00-02:30", "2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00"),
        ("22:00-02:30", "2026-10-25T02:40+01:00", "2026-10-25T22:00+01:00"),
    ],
)
def test_a_window_opens_and_closes_as_the_wall_clock_says_when_clocks_change(
    window: str, now: str, change: str
) -> None:
    of_berlin = as_window(f"{window} Europe/Berlin")
    assert of_berlin.next_change(at(now)) == datetime.fromisoformat(change)
    assert of_berlin.is_open(at(change)) != of_berlin.is_open(at(now))


def test_a_window_says_when_it_opens_and_one_of_the_whole_day_never_changes() -> None:
    night = as_window("22:00-06:00 Europe/Berlin")
    assert night.why_closed(at("2026-01-15T12:00+00:00")) == "its queue is closed until 22:00 Europe/Berlin"
    assert as_window("00:00-24:00").next_change(at("2026-01-15T12:00+00:00")) is None


@given(st.integers(0, 24 * 60 - 1), st.integers(1, 24 * 60 - 1), st.integers(-48 * 60, 48 * 60), st.booleans())
def test_nothing_changes_before_the_next_change(starts: int, length: int, minutes: int, is_autumn: bool) -> None:
    clock = "{:02}:{:02}".format
    window = as_window(
        f"{clock(*divmod(starts, 60))}-{clock(*divmod((starts + length) % (24 * 60), 60))} Europe/Berlin"
    )
    near = at("2026-10-25T01:00+00:00" if is_autumn else "2026-03-29T01:00+00:00")
    now = near + minutes * 60_000_000
    found = window.next_change(now)
    assert found is not None
    change = micros_of(found)
    assert window.is_open(change) != window.is_open(now)
    step = max(60_000_000, (change - now) // 300 // 60_000_000 * 60_000_000)
    assert all(window.is_open(between) == window.is_open(now) for between in range(now, change, step))


def test_a_window_may_end_at_midnight_and_its_zone_is_utc_unless_said() -> None:
    evening = as_window("18:00-24:00")
    assert evening.is_open(at("2026-01-15T23:59:59+00:00"))
    assert not evening.is_open(at("2026-01-15T00:00+00:00"))


@given(st.integers(0, 24 * 60 - 1), st.integers(1, 24 * 60 - 1), st.integers(0, 10**9))
def test_every_minute_lies_in_a_window_or_in_its_opposite(starts: int, length: int, minute: int) -> None:
    ends = (starts + length) % (24 * 60)
    clock = "{:02}:{:02}".format
    text, opposite = (
        clock(*divmod(one, 60)) + "-" + clock(*divmod(other, 60)) for one, other in ((starts, ends), (ends, starts))
    )
    now = minute * 60_000_000
    assert as_window(text).is_open(now) != as_window(opposite).is_open(now), moment(now)


def test_a_quick_count_is_made_each_time() -> None:
    gauge = Gauge(1000)
    gauge.note(0, now=1.0, seconds=QUICK / 2)
    assert not gauge.has_room(1, 1.0)


def test_a_slow_count_is_relied_upon_for_a_part_of_the_room_and_a_while() -> None:
    gauge = Gauge(64_000)
    gauge.note(0, now=1.0, seconds=0.01)
    taken = sum(gauge.has_room(100, 1.1) for _ in range(100))
    assert taken == 64_000 // PART // 100
    gauge.note(0, now=1.0, seconds=0.01)
    assert not gauge.has_room(1, 1.0 + TRUST * 0.01)


def test_a_queue_that_a_slow_count_found_full_is_full_for_a_while() -> None:
    gauge = Gauge(100)
    gauge.note(98, now=1.0, seconds=0.01)
    assert (gauge.depth_if_full(3, 1.1), gauge.depth_if_full(2, 1.1)) == (98, None)
    assert gauge.depth_if_full(3, 1.0 + TRUST * 0.01) is None
    gauge.note(98, now=2.0, seconds=QUICK / 2)
    assert gauge.depth_if_full(3, 2.0) is None


@given(st.integers(1, 10**6), st.lists(st.integers(1, 500), max_size=50))
def test_as_many_processes_as_parts_do_not_overshoot_together(depth: int, counts: list[int]) -> None:
    gauge = Gauge(10**6)
    gauge.note(depth, now=0.0, seconds=1.0)
    taken = sum(count for count in counts if gauge.has_room(count, 0.5))
    assert depth + PART * taken <= 10**6
