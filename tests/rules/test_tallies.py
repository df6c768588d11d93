"""Tallies: what counts as what, and how close histograms come to the times that they were made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.events import Ending
from posthorse.rules.job import State
from posthorse.rules.tallies import (
    Happened,
    Histogram,
    Measured,
    add,
    bucket_of,
    bucket_value,
    percentile,
    what_happened,
)

TIMES = st.lists(st.integers(0, 10**13), min_size=1, max_size=200)


def histogram(times: Sequence[int]) -> Histogram:
    over = Histogram()
    for time in times:
        over[bucket_of(time)] = over.get(bucket_of(time), 0) + 1
    return over


@given(TIMES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_a_tenth_of_the_exact_one(times: list[int], share: float) -> None:
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert percentile(histogram(times), share) == pytest.approx(exact, rel=0.1, abs=1)


@given(st.integers(1, 10**15))
def test_a_time_is_in_the_bucket_that_stands_for_it(time: int) -> None:
    assert bucket_value(bucket_of(time)) == pytest.approx(time, rel=0.0951)
    assert bucket_of(time) <= bucket_of(time + 1)


@given(TIMES, st.integers(1, 7))
def test_parts_add_up_to_the_whole_in_any_order(times: list[int], parts: int) -> None:
    cut = [times[number::parts] for number in range(parts)]
    measured = [Measured(sum(part), histogram(part)) for part in cut]
    assert add(measured) == add(reversed(measured)) == (sum(times), histogram(times))
    assert add([add(measured[:2]), *measured[2:]]) == add(measured)


def test_a_time_before_it_began_counts_as_none() -> None:
    assert bucket_value(bucket_of(-5)) == bucket_value(bucket_of(0)) == 0


@pytest.mark.parametrize(
    ("how", "state", "happened"),
    [
        ("returned", State.COMPLETED, ("completed",)),
        ("raised", State.FAILED, ("failed",)),
        ("raised", State.SCHEDULED, ("retried",)),
        ("expired", State.CANCELLED, ("cancelled",)),
        ("stopped", State.CANCELLED, ("cancelled",)),
        ("stopped", State.PENDING, ()),
        ("snoozed", State.SCHEDULED, ()),
        ("lost", State.PENDING, ("lost",)),
        ("crashed", State.FAILED, ("lost", "failed")),
    ],
)
def test_an_end_counts_as_what_it_was(how: Ending, state: State, happened: tuple[Happened, ...]) -> None:
    assert what_happened(how, state) == happened
