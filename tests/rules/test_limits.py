"""Rates and concurrency as people write them, and what is refused."""

from __future__ import annotations

import pytest

import posthorse as ph
from posthorse.rules.limits import as_concurrency, as_rate, limit_as_words
from posthorse.rules.queues import checked_layer


@pytest.mark.parametrize(
    ("text", "count", "seconds", "capacity"),
    [
        ("100/s", 100, 1, 100),
        ("10/m", 10, 60, 1),
        ("500/15m", 500, 900, 1),
        (" 3 / 10s ", 3, 10, 1),
        ("90/min", 90, 60, 2),
        ("7/hours", 7, 3600, 1),
        ("1000/d", 1000, 86_400, 1),
    ],
)
def test_a_rate_is_jobs_per_time_and_saves_up_one_second(text: str, count: int, seconds: float, capacity: int) -> None:
    rate = as_rate(text)
    assert (rate.count, rate.seconds, rate.capacity) == (count, seconds, capacity)
    assert rate.per_second == pytest.approx(count / seconds)


def test_the_burst_may_be_said() -> None:
    assert ph.Rate("10/s", burst=500).capacity == 500


@pytest.mark.parametrize(
    "wrong", ["", "fast", "10", "0/s", "-1/s", "1.5/s", "10/", "10/fortnight", "1/400d", 10, None, True]
)
def test_what_is_no_rate_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ph.InvalidOption, match="rate is"):
        as_rate(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("1.5/s", "whole jobs per time"),
        ("٣/s", "whole jobs per time"),  # digits of another script
        ("9999999999999/s", "1 to 1,000,000,000 jobs"),
        ({"per": "tenant"}, "a table has limit, per, name, burst"),
        ({"limit": ["10/s"]}, "write it as a text"),
        ("1/" + "9" * 60, "is not a time"),
    ],
)
def test_what_is_wrong_with_a_rate_is_said(wrong: object, message: str) -> None:
    with pytest.raises(ph.InvalidOption, match=message):
        as_rate(wrong)


@pytest.mark.parametrize("wrong", ["x" * 100_000, "10/" + "y" * 100_000, "9" * 100_000 + "/s"])
def test_what_is_no_rate_is_shown_in_part_where_it_is_long(wrong: str) -> None:
    with pytest.raises(ph.InvalidOption, match=r"\.\.\..*; write whole jobs per time") as caught:
        as_rate(wrong)
    assert len(str(caught.value)) < 200


def test_a_sequence_goes_by_one_thing() -> None:
    with pytest.raises(ph.InvalidOption, match="has neither"):
        ph.Sequence()
    with pytest.raises(ph.InvalidOption, match="has both"):
        ph.Sequence("invoice-7", per="customer_id")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"retry_budget": "fast"}, "retry_budget: rate is 'fast'"),
        ({"worker_count": 0}, "worker_count: concurrency is 0"),
        ({"concurrency": 0}, "queue 'mail': concurrency is 0"),
        ({"retry_budget": {"limit": "1/s", "per": "tenant"}}, "leave per out"),
        ({"retry_budget": {"limit": "1/s", "name": "api"}}, "leave name out"),
    ],
)
def test_a_queue_is_told_of_the_word_that_was_written(said: dict[str, object], message: str) -> None:
    with pytest.raises(ph.InvalidOption, match=message):
        checked_layer(said, queue="mail")


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "20", None, {"limits": 3}, {"per": "tenant"}])
def test_what_is_no_concurrency_is_refused(wrong: object) -> None:
    with pytest.raises(ph.InvalidOption, match="concurrency"):
        as_concurrency(wrong)


@pytest.mark.parametrize("per", ["", "no name", 3])
def test_per_names_a_parameter_or_is_a_function(per: str) -> None:
    with pytest.raises(ph.InvalidOption, match="per"):
        ph.Rate("10/s", per=per)
    with pytest.raises(ph.InvalidOption, match="per"):
        ph.Concurrency(1, per=per)


@pytest.mark.parametrize("limit", [ph.Rate("10/s"), ph.Rate("10/s", per="tenant", name="api", burst=3)])
def test_a_rate_reads_back_as_it_was_stored(limit: ph.Rate) -> None:
    assert as_rate(limit_as_words(limit)) == limit


@pytest.mark.parametrize("limit", [ph.Concurrency(20), ph.Concurrency(1, per="customer_id", name="bank")])
def test_a_concurrency_reads_back_as_it_was_stored(limit: ph.Concurrency) -> None:
    assert as_concurrency(limit_as_words(limit)) == limit


def test_the_plain_ones_are_stored_plainly() -> None:
    assert (limit_as_words(ph.Rate("10/s")), limit_as_words(ph.Concurrency(20))) == ("10/s", 20)
