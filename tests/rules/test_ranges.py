"""Ranges and the keys between two keys: even, rising, and strictly within."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.cursor import cursor_of_key, in_utc
from posthorse.rules.key_range import keys_between
from posthorse.rules.ranges import Cut, Range, check_ranges, cut_at, even_cuts

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - keys may be naive, too
PARTS = st.integers(1, 12)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5)), timezone(timedelta(hours=-9))])
PAIRS = st.one_of(
    *(
        st.tuples(keys, keys)
        for keys in (
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.decimals(allow_nan=False, allow_infinity=False),
            st.uuids(),
            st.dates(),
            st.datetimes(),
            st.datetimes(timezones=ZONES),
            st.one_of(st.integers(-9, 9), st.floats(-9, 9)),
            st.one_of(st.integers(-9, 9), st.decimals(-9, 9, places=3)),
        )
    )
)


@given(st.integers(0, 100), PARTS)
def test_even_cuts_leave_no_part_empty_and_differ_by_one_item(items: int, parts: int) -> None:
    ends = [0, *even_cuts(items, parts), items]
    sizes = [end - begin for begin, end in pairwise(ends)]
    assert len(sizes) == max(1, min(parts, items))
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == items


@given(st.lists(st.integers(1, 99), unique=True), st.integers(100, 120))
def test_ranges_follow_each_other_and_add_up(cuts: list[int], total: int) -> None:
    whole = Range(0, None, total)
    ranges = cut_at(whole, [Cut(at, at) for at in sorted(cuts)])
    check_ranges(ranges, whole, len(cuts) + 1)
    assert sum(each.total or 0 for each in ranges) == total
    assert cut_at(Range(0), [Cut(at) for at in sorted(cuts)])[0].total is None


@given(PAIRS, PARTS)
def test_keys_between_two_keys_rise_strictly_within_them(pair: tuple[Any, Any], parts: int) -> None:
    first, last = sorted(pair, key=in_utc)  # type: ignore[arg-type]  # of one type
    keys = keys_between(first, last, parts)
    assert keys is not None
    assert len(keys) < parts
    moments: list[Any] = [in_utc(key) for key in (first, *keys, last)]
    if keys:
        assert all(one < other for one, other in pairwise(moments))
        assert all(cursor_of_key(key) is not None for key in keys)


@pytest.mark.parametrize(
    ("first", "last", "middle"),
    [
        (0, 10, 5),
        (-3, 3, 0),
        (0, 1.0, 0.5),
        (Decimal(1), 2, Decimal("1.5")),
        (UUID(int=0), UUID(int=2**100), UUID(int=2**99)),
        (date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 2)),
        (NAIVE, NAIVE + timedelta(2), NAIVE + timedelta(1)),
        (
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 1, 7, tzinfo=timezone(timedelta(hours=5))),
            datetime(2026, 1, 1, 1, tzinfo=UTC),
        ),
        (-1.7e308, 1.7e308, 0.0),
    ],
)
def test_the_middle_is_in_the_middle(first: object, last: object, middle: object) -> None:
    assert keys_between(first, last, 2) == [middle]


@pytest.mark.parametrize(
    ("first", "last"),
    [("a", "b"), ((1, 2), (3, 4)), (True, 5), (b"a", b"b"), (date(2026, 1, 1), NAIVE), (1, UUID(int=5))],
)
def test_keys_without_a_known_middle_are_not_cut(first: object, last: object) -> None:
    assert keys_between(first, last, 2) is None


def test_keys_without_room_between_them_are_not_cut() -> None:
    assert keys_between(3, 4, 5) == []
    assert keys_between(3, 3, 5) == []
    assert keys_between(9, 3, 5) == []
    assert keys_between(1, 4, 9) == [2, 3]
