"""How long a failed attempt waits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.retry import Backoff, as_backoff

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
        Backoff(**wrong)


def test_backoff_travels_as_four_numbers() -> None:
    assert Backoff(base="1m", factor=3, limit="1h", jitter=0.25).as_tuple() == (60, 3, 3600, 0.25)
