"""Parts of a job: in the order of their ranges, one progress, and who gives half of its rest away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.pace import Pace
from posthorse.rules.parts import Part, PartNow, Worth, in_range_order, numbers_of, progress_of_parts, should_share
from posthorse.rules.ranges import Range

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def pace(slices: int, *, items: int = 100, seconds: float = 1.0) -> Pace:
    found = Pace()
    for _ in range(slices):
        found = found.observe(items, seconds)
    return found


def part(done: int, total: int | None, *, rate: float = 100.0, running: bool = True, over: bool = False) -> PartNow:
    slices = done // 100
    measured = pace(slices, seconds=100 / rate)
    return PartNow(done=done, total=total, pace=measured, is_running=running and not over, is_over=over, since=NOW)


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 99)), max_size=20))
def test_parts_are_in_the_order_of_their_ranges_whoever_gave_what_away(
    parts: int, gifts: list[tuple[int, int]]
) -> None:
    made = [Part(number, "", Range(number * 1000, (number + 1) * 1000)) for number in range(parts)]
    begins = {number: number * 1000.0 for number in range(parts)}
    ends = {number: (number + 1) * 1000.0 for number in range(parts)}
    for chosen, share in gifts:
        giver, number = chosen % len(made), len(made)
        at = begins[giver] + (ends[giver] - begins[giver]) * share / 100
        begins[number], ends[number], ends[giver] = at, ends[giver], at
        made.append(Part(number, "", Range(at), given_by=giver))
    assert in_range_order(numbers_of(reversed(made))) == sorted(begins, key=lambda number: begins[number])


def test_progress_is_the_sum_of_all_parts() -> None:
    found = progress_of_parts([part(1000, 1000, over=True), part(500, 1000), part(0, 1000, running=False)], NOW)
    assert (found.done, found.total) == (1500, 3000)
    assert found.rate == pytest.approx(100)
    assert found.fraction == 0.5


def test_the_end_is_that_of_the_last_part() -> None:
    found = progress_of_parts([part(900, 1000), part(500, 1000)], NOW)
    assert found.rate == pytest.approx(200)
    assert found.eta is not None
    assert found.eta_range is not None
    assert found.remaining is not None
    assert found.remaining.total_seconds() == pytest.approx(5, rel=0.2)
    assert found.eta_range[0] <= found.eta <= found.eta_range[1]


def test_parts_that_wait_for_others_take_their_time_too() -> None:
    found = progress_of_parts([part(900, 1000), *[part(0, 1000, running=False)] * 7], NOW)
    assert found.remaining == timedelta(seconds=71)  # 7,100 items at 100 a second
    assert found.eta == NOW + timedelta(seconds=71)


def test_a_part_that_does_not_know_its_total_leaves_the_end_open() -> None:
    parts = [part(500, None), part(500, 1000)]
    assert progress_of_parts(parts, NOW).total is None
    assert progress_of_parts(parts, NOW).eta is None
    told = progress_of_parts(parts, NOW, total=3000)
    assert told.total == 3000
    assert told.remaining == timedelta(seconds=10)


def test_a_job_whose_parts_do_not_run_has_no_finish_time_but_a_rest() -> None:
    found = progress_of_parts([part(500, 1000, running=False), part(0, 1000, running=False)], NOW)
    assert found.eta is None
    assert found.remaining == timedelta(seconds=15)


def test_parts_that_are_all_over_are_done() -> None:
    found = progress_of_parts([part(1000, 1000, over=True)] * 3, NOW)
    assert found.fraction == 1.0
    assert found.remaining == timedelta(0)
    failed = progress_of_parts([part(1000, 1000, over=True), part(500, 1000, over=True)], NOW)
    assert failed.fraction == 0.75
    assert failed.eta is None


def test_what_a_failed_part_left_is_not_waited_for() -> None:
    found = progress_of_parts([part(100, 9000, over=True), part(500, 1000)], NOW)
    assert found.remaining is not None
    assert found.remaining.total_seconds() == pytest.approx(5, rel=0.2)


def test_nothing_is_foretold_before_the_first_slices() -> None:
    found = progress_of_parts([part(0, 1000), part(0, 1000)], NOW)
    assert (found.done, found.total, found.rate, found.remaining, found.eta) == (0, 2000, None, None, None)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20), st.booleans()), min_size=1, max_size=12))
def test_ranges_of_finish_times_hold_the_likely_one(parts: list[tuple[int, int, bool]]) -> None:
    standing = [part(slices * 100, (slices + left) * 100, running=running) for slices, left, running in parts]
    found = progress_of_parts(standing, NOW)
    if found.eta is not None and found.eta_range is not None:
        assert NOW <= found.eta_range[0] <= found.eta <= found.eta_range[1]
        assert found.remaining is not None


WORTH = Worth(seconds=30.0, slices=20.0)


def test_the_part_with_the_longest_rest_gives_half_away() -> None:
    parts = {
        "quick": part(1000, 9000, rate=400),
        "slow": part(1000, 9000, rate=100),
        "over": part(1000, 1000, over=True),
    }
    assert should_share(parts, 3, WORTH) == "slow"
    assert should_share(parts, 2, WORTH) is None  # two are not over yet
    waits = parts | {"waits": part(0, 99_000, running=False)}
    assert should_share(waits, 9, WORTH) is None  # it comes first


@pytest.mark.parametrize(
    ("standing", "shares"),
    [
        (part(1000, 4001), True),
        (part(1000, 4000), False),  # 30 seconds
        (part(1000, 3050, rate=10), True),
        (part(1000, 3000, rate=10), False),  # 20 slices
        (part(3001, None), True),  # as much again is assumed to be left
        (part(3000, None), False),
        (part(0, 90_000), False),  # no slice yet
        (part(1000, 9000, running=False), False),
        (part(1000, 9000, over=True), False),
    ],
)
def test_only_a_rest_that_is_worth_it_is_shared(standing: PartNow, shares: bool) -> None:
    assert should_share({"it": standing}, 2, WORTH) == ("it" if shares else None)
