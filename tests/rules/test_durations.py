"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.errors import InvalidOption
from posthorse.rules.durations import MAX_DURATION, Duration, as_text, as_timedelta, lasted


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), (" 1H30m ", 5400), ("3d", 259_200), ("2w", 1_209_600),
     ("250ms", 0.25), ("1.5h", 5400), ("1m 30s", 90), (timedelta(minutes=2), 120), (0, 0), ("0s", 0)],
)  # fmt: skip
def test_people_write_durations_in_many_ways(written: Duration, seconds: float) -> None:
    assert as_timedelta(written, name="timeout") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    ["", "soon", "10 parsecs", "5s later", "-5s", "1e9", "s", -1, -0.001, 1e12, float("nan"), float("inf"), True, None,
     [], timedelta(days=-1), MAX_DURATION + timedelta(seconds=1), "99999999999999d", "1,5s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_by_the_name_of_its_option(written: Duration) -> None:
    with pytest.raises(InvalidOption, match=r"^timeout is"):
        as_timedelta(written, name="timeout")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (45, "45s"), (90, "1m30s"), (5400, "1h30m"), (90_061, "1d1h"), (59.6, "1m")],
)
def test_shortest_text_is_what_a_person_would_write(seconds: float, text: str) -> None:
    assert as_text(timedelta(seconds=seconds)) == text


@given(st.integers(0, 10**9))
def test_text_comes_back_as_nearly_the_same_duration(seconds: int) -> None:
    again = as_timedelta(as_text(timedelta(seconds=seconds)), name="x").total_seconds()
    assert again <= seconds
    assert again >= seconds * 0.95 or seconds - again < 60


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (0, "0s"), (0.0001, "<1ms"), (0.002, "2ms"), (0.9996, "1s"), (75, "1m15s")]
)
def test_what_something_took_has_one_form(seconds: float, text: str) -> None:
    assert lasted(seconds) == text
