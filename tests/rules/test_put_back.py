"""Values that are put back in place: equal to what they were, and the same objects if these can change."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.values.put_back import put_back

_SCALARS = st.none() | st.integers() | st.text(max_size=3) | st.booleans()
_VALUES = st.recursive(
    _SCALARS,
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.dictionaries(st.text(max_size=2), parts, max_size=4)
        | st.sets(st.integers(), max_size=4)
        | st.tuples(parts, parts)
    ),
    max_leaves=12,
)


@given(_VALUES, _VALUES)
def test_what_is_put_back_equals_what_was(current: object, before: object) -> None:
    kind = type(current)
    answer = put_back(current, before)
    assert answer == before
    assert type(answer) is type(before)
    if kind is type(before) and kind in (list, dict, set):
        assert answer is current


@pytest.mark.parametrize(
    ("current", "before"),
    [
        (Counter(a=5, b=1), Counter(a=2)),
        (defaultdict(int, a=1), defaultdict(int, b=2)),
        (OrderedDict[str, int](b=1, a=2), OrderedDict[str, int](a=2, b=1)),
        (deque([1, 2], 3), deque([4], 3)),
        (bytearray(b"ab"), bytearray(b"c")),
        ({1, 2}, {2, 3}),
    ],
)
def test_each_container_is_put_back_in_place(current: object, before: object) -> None:
    answer = put_back(current, before)
    assert answer is current
    assert answer == before
    assert list(answer) == list(before)  # type: ignore[call-overload]  # all of them have items


def test_parts_are_put_back_in_place_too() -> None:
    part = [1, 2, 3]
    assert put_back({"a": part, "b": 1}, {"a": [1]}) == {"a": [1]}
    assert part == [1]


def test_what_cannot_be_changed_in_place_is_replaced() -> None:
    assert put_back(deque([1], 2), deque([1], 3)).maxlen == 3  # type: ignore[attr-defined]  # a deque
    assert put_back((1, [2]), (1, [3])) == (1, [3])
    assert put_back([1], {1}) == {1}
