"""Retries: how long a failed attempt waits."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.retry import Backoff, BackoffNumbers, as_backoff

CHANCE = st.floats(0, 1, exclude_max=True)


def test_waits_grow_by_the_factor_up_to_the_limit() -> None:
    backoff = Backoff(base="2s", factor=3, limit="1m", jitter=0)
    assert [backoff.wait(n, 0.7).total_seconds() for n in range(1, 6)] == [2, 6, 18, 54, 60]


@given(failures=st.integers(1, 10**6), jitter=st.floats(0, 1), chance=CHANCE)
def test_jitter_only_shortens_and_nothing_overflows(failures: int, jitter: float, chance: float) -> None:
    longest = Backoff(jitter=0).wait(failures, 0)
    wait = Backoff(jitter=jitter).wait(failures, chance)
    assert longest * (1 - jitter) - timedelta(milliseconds=1) <= wait <= longest <= timedelta(hours=1)


def test_full_jitter_spreads_over_all_of_the_wait() -> None:
    backoff = Backoff(base=10, jitter=1)
    assert backoff.wait(1, 0.0).total_seconds() == 10
    assert backoff.wait(1, 0.9).total_seconds() == pytest.approx(1)


def test_plain_duration_is_a_fixed_wait() -> None:
    assert [as_backoff("5s").wait(n, 0.9).total_seconds() for n in (1, 2, 9)] == [5, 5, 5]
    assert as_backoff(0).wait(3, 0.5) == timedelta(0)
    assert as_backoff(Backoff(base=1)) == Backoff(base=1)


@pytest.mark.parametrize(
    "wrong", [{"base": -1}, {"factor": 0.5}, {"factor": 1e9}, {"limit": "x"}, {"jitter": 1.1}, {"jitter": -0.1}]
)
def test_backoff_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Backoff"):
        Backoff(**wrong)  # type: ignore[arg-type]  # what is wrong of it is the point


BACKOFFS = st.one_of(
    st.builds(
        Backoff,
        base=st.floats(0, 1e6),
        factor=st.floats(1, 1e6),
        limit=st.floats(0, 1e7),
        jitter=st.floats(0, 1),
        step=st.floats(0, 1e6),
    ),
    st.builds(Backoff.linear, st.floats(0, 1e6), limit=st.floats(0, 1e7), jitter=st.floats(0, 1)),
    st.builds(Backoff, waits=st.lists(st.floats(0, 1e7), min_size=1, max_size=100).map(tuple), jitter=st.floats(0, 1)),
)


@given(backoff=BACKOFFS, failures=st.integers(1, 1000), chance=CHANCE)
def test_every_form_stays_in_its_bounds_and_survives_its_journey(
    backoff: Backoff, failures: int, chance: float
) -> None:
    wait = backoff.wait(failures, chance)
    numbers = backoff.as_numbers()
    assert timedelta(0) <= wait <= timedelta(seconds=max(numbers.waits, default=numbers.limit))
    assert wait >= backoff.wait(failures, 0) * (1 - numbers.jitter) - timedelta(milliseconds=1)
    travelled = msgspec.json.decode(msgspec.json.encode(numbers), type=BackoffNumbers)
    assert Backoff.of_numbers(travelled).wait(failures, chance) == wait


@given(backoff=BACKOFFS.filter(lambda backoff: not backoff.waits), failures=st.integers(1, 999))
def test_waits_of_a_formula_never_shrink(backoff: Backoff, failures: int) -> None:
    assert backoff.wait(failures, 0) <= backoff.wait(failures + 1, 0)


def test_linear_waits_grow_by_one_step() -> None:
    backoff = Backoff.linear("10s", limit="35s")
    assert [backoff.wait(n, 0.5).total_seconds() for n in range(1, 6)] == [10, 20, 30, 35, 35]


def test_listed_waits_are_taken_in_order_and_the_last_again_and_again() -> None:
    backoff = as_backoff(["1s", 10, timedelta(minutes=1)])
    assert [backoff.wait(n, 0.5).total_seconds() for n in (1, 2, 3, 4, 99)] == [1, 10, 60, 60, 60]


def test_a_function_cannot_travel_with_one_job() -> None:
    with pytest.raises(ValueError, match=r"@app\.job"):
        as_backoff(lambda attempt, error: 1)  # type: ignore[arg-type]


def test_backoff_travels_as_numbers() -> None:
    assert Backoff(base="1m", factor=3, limit="1h", jitter=0.25).as_numbers() == BackoffNumbers(60, 3, 3600, 0.25)
