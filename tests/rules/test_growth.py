"""Growth of dead letters: at whatever times one looks, nothing is reported twice and no burst is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.clock import SECOND
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.growth import (
    EVERYBODY,
    LOG,
    MAX_COUNTED,
    OBSERVERS_QUEUE,
    AlarmRule,
    Death,
    Deaths,
    Growth,
    event_of,
    grown,
    make_alarm_rule,
    suspected,
)

PACE = 10 * SECOND
MAIL = AlarmRule("tell", by=3, within=60 * SECOND)


def death(at: float, queue: str = "mail", kind: str = "welcome") -> Death:
    return Death(round(at * SECOND), f"job-{at:g}-{queue}", queue, kind)


def seen(deaths: Sequence[Death], now: float) -> Deaths:
    """Return what a look finds at a moment."""
    at = round(now * SECOND)
    newest = sorted((each for each in deaths if each.at <= at), key=lambda each: -each.at)
    return Deaths(newest[:MAX_COUNTED], len(newest) > MAX_COUNTED, at)


def told_at(rule: AlarmRule, deaths: Sequence[Death], looks: Sequence[float], *, pace: int = PACE) -> list[Growth]:
    """Return the reports of looks at these moments, one after the other."""
    through: dict[str, int] = {}
    told: list[Growth] = []
    for now in looks:
        found = seen(deaths, now)
        for queue in suspected(rule, found):
            growth = grown(rule, queue, found, through.get(queue), pace=pace)
            if growth is not None:
                through[queue] = growth.through
                told.append(growth)
    return told


def test_a_burst_is_told_once_and_the_next_one_again() -> None:
    burst = [death(100 + n / 10) for n in range(3)]
    again = [death(300 + n / 10) for n in range(4)]
    told = told_at(MAIL, burst + again, range(95, 400, 10))
    assert [len(growth.deaths) for growth in told] == [3, 4]


def test_while_it_goes_on_there_is_news_once_in_each_span() -> None:
    told = told_at(MAIL, [death(float(n)) for n in range(600)], range(5, 600, 10))
    assert 9 <= len(told) <= 13
    assert told[0].deaths[-1].at == 0
    assert sum(len(growth.deaths) for growth in told) > 500, "hardly one of them is told to nobody"


def test_fewer_than_it_takes_are_told_to_nobody() -> None:
    assert told_at(MAIL, [death(1), death(2), death(70)], range(0, 200, 10)) == []


def test_queues_are_counted_each_by_itself() -> None:
    deaths = [death(n, queue) for n in (1, 2) for queue in ("mail", "photos")] + [death(3, "photos")]
    assert [growth.queue for growth in told_at(MAIL, deaths, [5])] == ["photos"]


def test_a_watch_for_one_queue_sees_no_other() -> None:
    rule = AlarmRule("tell", by=1, within=60 * SECOND, queue="mail")
    deaths = [death(1), death(1, "photos")]
    assert [growth.queue for growth in told_at(rule, deaths, [5])] == ["mail"]


def test_dead_observers_are_told_to_those_who_ask_and_never_to_themselves() -> None:
    deaths = [death(1, OBSERVERS_QUEUE, "tell"), death(2, OBSERVERS_QUEUE, "other")]
    rule = AlarmRule("tell", by=1, within=60 * SECOND)
    assert told_at(rule, deaths, [5]) == []
    asked = AlarmRule("tell", by=1, within=60 * SECOND, queue=OBSERVERS_QUEUE)
    assert [each.kind for growth in told_at(asked, deaths, [5]) for each in growth.deaths] == ["other"]
    assert len(told_at(AlarmRule(EVERYBODY, by=2), deaths, [5])) == 1, "the log tells of them"


def test_a_clock_that_was_put_back_silences_nobody() -> None:
    found = seen([death(1), death(2), death(3)], 5)
    assert grown(MAIL, "mail", found, 3_600 * SECOND, pace=PACE) is not None
    assert grown(MAIL, "mail", found, 3 * SECOND, pace=PACE) is None


def test_when_not_all_could_be_counted_the_count_is_a_least() -> None:
    told = told_at(MAIL, [death(n / 100) for n in range(MAX_COUNTED + 1)], [15])
    assert [(len(growth.deaths), growth.is_at_least) for growth in told] == [(MAX_COUNTED, True)]
    assert event_of(told[0], {}).is_at_least


def test_the_event_says_what_died_of_what_the_most_frequent_first() -> None:
    deaths = [death(n, kind="welcome" if n < 7 else "report") for n in range(1, 10)]
    errors = {each.job: "KeyError" if n > 6 else "TimeoutError" for n, each in enumerate(deaths)}
    event = event_of(Growth("mail", 0, deaths[::-1], is_at_least=False), errors)
    assert (event.queue, event.count, event.kinds) == ("mail", 9, {"welcome": 6, "report": 3})
    assert list(event.errors.items()) == [("TimeoutError", 7), ("KeyError", 2)]
    assert list(event.jobs) == [each.job for each in deaths[:5]]
    assert (event.since.timestamp(), event.until.timestamp()) == (1, 9)


def test_no_more_than_five_errors_are_named() -> None:
    deaths = [death(n) for n in range(1, 10)]
    event = event_of(Growth("mail", 0, deaths[::-1], is_at_least=False), {each.job: each.job for each in deaths})
    assert len(event.errors) == 5


@given(
    st.lists(st.tuples(st.floats(0, 900), st.sampled_from(["mail", "photos"])), max_size=60),
    st.lists(st.floats(0, 1_000), max_size=60),
    st.integers(1, 6),
    st.floats(1, 300),
)
def test_whenever_one_looks_nothing_is_told_twice_nor_of_too_few(
    died: list[tuple[float, str]], looks: list[float], by: int, within: float
) -> None:
    rule = AlarmRule("tell", by=by, within=round(within * SECOND))
    told = told_at(rule, [death(at, queue) for at, queue in died], sorted(looks))
    spans: dict[str, int] = {}
    for growth in told:
        assert len(growth.deaths) >= by
        first, last = growth.deaths[-1].at, growth.deaths[0].at
        assert last - first < rule.within
        assert spans.get(growth.queue, growth.after) <= growth.after < first
        spans[growth.queue] = last


@given(st.floats(0, 500), st.floats(0, 10), st.integers(1, 6))
def test_no_burst_is_missed_by_who_looks_in_time(at: float, phase: float, by: int) -> None:
    rule = AlarmRule("tell", by=by, within=60 * SECOND)
    deaths = [death(at + n / 10) for n in range(by)]
    told = told_at(rule, deaths, [phase + 10 * n for n in range(60)])
    assert Counter(growth.queue for growth in told) == {"mail": 1}
    assert len(told[0].deaths) == by


@pytest.mark.parametrize(
    ("by", "within", "told"),
    [
        (0, "5m", "by is 0; it must be a whole number from 1 to 1,000"),
        (1_001, "5m", "by is 1001"),
        (True, "5m", "by is True"),
        ("10", "5m", "by is '10'"),
        (10, "0s", "within is '0s'; it must lie between 1s and 30d"),
        (10, "31d", "within is '31d'"),
        (10, "soon", "within is 'soon', which is not a duration"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(by: object, within: Duration, told: str) -> None:
    with pytest.raises(InvalidOption, match=told):
        make_alarm_rule("tell", by=by, within=within, queue=None)


def test_the_log_watches_as_observers_do_by_default() -> None:
    assert make_alarm_rule(EVERYBODY, by=10, within="5m", queue=None) == LOG
