"""The size of slices keeps to a time, changes smoothly, stays in its bounds, and is halved if slices were cut short."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.loop_state import LoopState, decode_loops, encode_loops
from posthorse.rules.slice_size import TIMED_OUT, TRANSACTION_TIMED_OUT, CutShort, SizeRule, SliceSize, cut_short_by

WHOLE = CutShort()


def walk(rule: SizeRule, costs: list[float]) -> list[int]:
    """Return sizes of slices over items that take this long each, until all are done."""
    sizes: list[int] = []
    stored, at = None, 0
    while at < len(costs):
        size = rule.begin(stored, WHOLE, None)
        items = costs[at : at + size.items]
        stored = rule.after(size, len(items), sum(items))
        sizes.append(size.items)
        at += len(items)
    return sizes


@given(
    most=st.integers(1, 5000),
    seconds=st.floats(0.001, 3600),
    slices=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 1)), max_size=40),
)
def test_a_size_at_most_doubles_loses_at_most_three_quarters_and_stays_in_bounds(
    most: int, seconds: float, slices: list[tuple[float, float]]
) -> None:
    rule = SizeRule(most, seconds)
    size = rule.begin(None, WHOLE, None)
    for took, share in slices:
        after = rule.after(size, max(1, int(size.items * share)), took)
        assert after is not None
        assert 1 <= after.items <= most
        assert max(1, size.items // 4) <= after.items <= size.items * 2
        size = after


@given(cost=st.floats(1e-4, 10), seconds=st.floats(0.05, 60))
def test_equal_items_make_slices_that_take_the_time(cost: float, seconds: float) -> None:
    """The time is kept as closely as whole items allow: from the twelfth slice on, within the last item."""
    rule = SizeRule(10**6, seconds)
    size = rule.begin(None, WHOLE, None)
    for _ in range(30):
        size = rule.after(size, size.items, size.items * cost) or size
    assert size.items == pytest.approx(min(2**30, max(1, seconds / cost)), rel=0.01, abs=1)


def test_unequal_items_change_the_size_smoothly() -> None:
    chance = random.Random(7)
    costs = [chance.expovariate(100) for _ in range(60_000)]  # 10 ms on average, very unequal
    settled = walk(SizeRule(10_000, 1.0), costs)[15:-1]
    assert 80 < sum(settled) / len(settled) < 125
    changes = [later / earlier for earlier, later in pairwise(settled)]
    assert 0.8 < min(changes) <= max(changes) < 1.25


def test_one_slow_item_is_felt_and_soon_forgotten() -> None:
    sizes = walk(SizeRule(1000, 1.0), [0.01] * 1000 + [5.0] + [0.01] * 3000)
    low = min(sizes[10:])
    assert 10 <= low <= 50  # felt, without falling to one item
    assert max(sizes[sizes.index(low, 10) : sizes.index(low, 10) + 10]) >= 90  # back within ten slices


def test_slices_begin_with_one_item_and_reach_a_thousand_in_ten() -> None:
    assert walk(SizeRule(1000, 3600), [0.0] * 2000)[:11] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]


def test_a_fixed_size_stays_as_it_is_and_stores_nothing() -> None:
    rule = SizeRule(50)
    assert rule.begin(None, WHOLE, None).items == 50
    assert rule.after(SliceSize(50), 50, 99.0) is None


@pytest.mark.parametrize(
    ("seconds", "cut_short", "left", "items"),
    [
        (None, CutShort(timeouts=1), None, 50),
        (None, CutShort(timeouts=3), None, 12),
        (None, CutShort(timeouts=60), None, 1),
        (None, CutShort(interruptions=3), None, 100),  # the user's size, and no sign that it is at fault
        (None, CutShort(timeouts=1), 8, 4),  # what is not there cannot be halved
        (None, CutShort(), 8, 100),
        (1.0, CutShort(timeouts=1, interruptions=2), None, 10),
    ],
)
def test_a_slice_that_was_cut_short_is_halved(
    seconds: float | None, cut_short: CutShort, left: int | None, items: int
) -> None:
    rule = SizeRule(100, seconds)
    stored = None if seconds is None else SliceSize(80)
    assert rule.begin(stored, cut_short, left).items == items


def test_a_halved_size_recovers_by_doubling() -> None:
    rule = SizeRule(100)
    stored: SliceSize | None = SliceSize(12)
    sizes: list[int] = []
    while stored is not None:
        size = rule.begin(stored, WHOLE, None)
        sizes.append(size.items)
        stored = rule.after(size, size.items, 0.1)
    assert sizes == [12, 24, 48, 96]


def test_a_smaller_ceiling_in_newer_code_holds_at_once() -> None:
    assert SizeRule(10, 1.0).begin(SliceSize(500, 100, 0.1), WHOLE, None).items == 10


def test_only_timeouts_and_lost_workers_count() -> None:
    ends: list[tuple[str, dict[str, object]]] = [
        ("attempt_failed", {"type": "TimeoutError", "message": f"{TIMED_OUT}timeout of 3 s"}),
        ("failed", {"type": "TimeoutError", "message": f"{TIMED_OUT}timeout of 3 s"}),
        ("attempt_failed", {"type": "TimeoutError", "message": "the socket was slow"}),
        ("attempt_failed", {"type": "ValueError", "message": "no"}),
        ("lost", {}),
        ("crashed", {"detail": "signal 9"}),
        ("failed", {"type": "Crashed", "message": "crashed its worker 3 times"}),
    ]
    assert cut_short_by(ends) == CutShort(timeouts=2, interruptions=3)


@pytest.mark.parametrize(
    "detail",
    [
        {"message": f"{TRANSACTION_TIMED_OUT}10 s that it may"},
        {"message": "no", "traceback": f"posthorse.errors.StoreError: {TRANSACTION_TIMED_OUT}10 s\n\nImportError: no"},
        {"message": "2 errors", "traceback": f"    | TimeoutError: {TIMED_OUT}timeout of 3 s\n    +-----"},
    ],
)
def test_a_transaction_and_an_error_that_was_raised_from_a_timeout_count_too(detail: dict[str, object]) -> None:
    assert cut_short_by([("attempt_failed", detail)]) == CutShort(timeouts=1)


def test_a_retry_after_a_timeout_begins_with_one_item() -> None:
    late: tuple[str, dict[str, object]] = ("failed", {"message": f"{TIMED_OUT}timeout of 3 s"})
    wrong: tuple[str, dict[str, object]] = ("failed", {"message": "no"})
    retried: tuple[str, dict[str, object]] = ("retried", {})
    assert cut_short_by([retried, late]) == CutShort(timeouts=1, is_retried=True)
    assert cut_short_by([late, wrong, retried, late]) == CutShort(timeouts=2, is_retried=True)
    assert cut_short_by([late, retried, wrong]) == CutShort(timeouts=1)
    assert cut_short_by([retried, wrong]) == WHOLE
    for rule in (SizeRule(100), SizeRule(100, 1.0)):
        assert rule.begin(SliceSize(80), CutShort(timeouts=1, is_retried=True), None).items == 1


def test_a_size_survives_in_the_standing_of_its_loop() -> None:
    loops = {"": LoopState(cursor=3, done=3, size=SliceSize(7, 1.5, 0.25)), "plain": LoopState(done=1)}
    assert decode_loops(encode_loops(loops)) == loops
    assert "size" not in encode_loops({"plain": LoopState(done=1)})


def test_however_slow_a_slice_was_the_next_one_is_a_quarter_of_it_at_least() -> None:
    sizes = [SizeRule(1000, 1.0).after(SliceSize(items), items, 1e6) for items in (400, 5, 1)]
    assert [size.items for size in sizes if size is not None] == [100, 1, 1]
