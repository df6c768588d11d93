"""The budget for bad items, as a count and as a share."""

from __future__ import annotations

import pytest

from posthorse.errors import InvalidOption
from posthorse.rules.tolerance import Tolerance, as_tolerance


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [
        (0, Tolerance()),
        (100, Tolerance(count=100)),
        ("1%", Tolerance(share=0.01)),
        (" 0.5 % ", Tolerance(share=0.005)),
        ("100%", Tolerance(share=1.0)),
    ],
)
def test_a_budget_is_a_count_or_a_share(given: object, tolerance: Tolerance) -> None:
    assert as_tolerance(given) == tolerance


@pytest.mark.parametrize("given", [-1, 1.5, True, "5", "101%", "-1%", "%", None, "1 percent"])
def test_what_is_neither_is_refused(given: object) -> None:
    with pytest.raises(InvalidOption, match="tolerate is"):
        as_tolerance(given)


@pytest.mark.parametrize(
    ("tolerance", "bad", "done", "is_over", "is_exceeded"),
    [
        (Tolerance(), 0, 10, True, False),
        (Tolerance(), 1, 10, False, True),
        (Tolerance(count=3), 3, 3, False, False),
        (Tolerance(count=3), 4, 10**9, False, True),
        (Tolerance(share=0.01), 50, 99, False, False),  # too early to judge
        (Tolerance(share=0.01), 1, 100, False, False),
        (Tolerance(share=0.01), 2, 100, False, True),
        (Tolerance(share=0.01), 1, 50, True, True),  # there is no more to come
        (Tolerance(share=0.5), 25, 50, True, False),
        (Tolerance(share=0.0), 1, 1000, False, True),
    ],
)
def test_a_share_is_judged_from_a_hundred_items_on_or_at_the_end(
    tolerance: Tolerance, bad: int, done: int, is_over: bool, is_exceeded: bool
) -> None:
    assert tolerance.is_exceeded(bad, done, is_over=is_over) is is_exceeded


def test_a_budget_reads_as_it_was_written() -> None:
    assert [str(as_tolerance(given)) for given in (1000, "0.5%")] == ["1,000", "0.5%"]
