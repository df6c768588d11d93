"""Prefetch: a moment's worth of quick jobs is claimed ahead, and nothing of slow ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.tuning import DEFAULTS
from posthorse.worker.claiming.prefetch import MAX_AHEAD, Prefetch

AHEAD = DEFAULTS.prefetch


def observed(concurrency: int, *seconds: float) -> Prefetch:
    prefetch = Prefetch(concurrency)
    for each in seconds:
        prefetch.observe(each)
    return prefetch


def test_nothing_is_claimed_ahead_before_as_many_jobs_ended_as_run_at_once() -> None:
    assert observed(4, 0.001, 0.001, 0.001).allowance() == 0
    assert observed(4, 0.001, 0.001, 0.001, 0.001).allowance() > 0


def test_quick_jobs_are_claimed_ahead_for_a_fiftieth_of_a_second() -> None:
    assert observed(2, *[0.001] * 50).allowance() == int(2 * AHEAD / 0.001)


def test_slow_jobs_are_never_claimed_ahead() -> None:
    assert observed(2, 0.02, 0.02).allowance() == 0
    assert observed(1, *[0.001] * 50, 3600).allowance() == 0
    assert (
        observed(1, *[0.001] * 50, 0.03).allowance() == 0
    )  # one slow job counts at once, although the average is still short


def test_instant_jobs_are_claimed_ahead_within_a_bound() -> None:
    assert observed(10, *[0.0] * 50).allowance() == MAX_AHEAD


@given(st.integers(1, 50), st.lists(st.floats(0, 1), max_size=80))
def test_what_is_claimed_ahead_is_at_most_a_moment_of_what_jobs_took_lately(
    concurrency: int, seconds: list[float]
) -> None:
    prefetch = observed(concurrency, *seconds)
    allowance = prefetch.allowance()
    assert 0 <= allowance <= MAX_AHEAD
    assert prefetch.observed == len(seconds)
    if seconds and seconds[-1] > max(seconds[:-1], default=0) * 20 and seconds[-1] >= AHEAD:
        assert allowance == 0
