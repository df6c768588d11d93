"""Kept values come back as they were, including containers."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import Enum
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorse.rules.values.kept import decode_kept, encode_kept
from tests.rules.odd_values import Point, Session, endless, nested


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Row:
    id: int
    content: object = None


def typed(value: object) -> object:
    """Return the value with the type of each part, because 1 == 1.0 == True."""
    kind = type(value)
    if isinstance(value, float):
        return kind, repr(value)
    if isinstance(value, dict):
        pairs = [(typed(key), typed(item)) for key, item in value.items()]
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return kind, tuple(pairs) if kind is OrderedDict else frozenset(pairs), factory
    if isinstance(value, set | frozenset):
        return kind, frozenset(typed(item) for item in value)
    if isinstance(value, list | tuple | deque):
        return kind, tuple(typed(item) for item in value), value.maxlen if isinstance(value, deque) else None
    return kind, value


SCALARS: list[st.SearchStrategy[object]] = [
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(seconds=3208)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
]


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(deque, st.lists(inner, max_size=3), st.sampled_from([None, 5])),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(st.text() | st.sampled_from(["$set", "$", "$dict"]), inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=3).map(Counter),
        st.builds(defaultdict, st.sampled_from([int, list, None]), st.dictionaries(KEYS, inner, max_size=3)),
    )


KEYS = st.recursive(
    st.one_of(SCALARS),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.recursive(st.one_of(SCALARS), containers, max_leaves=8))
def test_a_kept_value_comes_back_equal_and_of_the_same_types(value: object) -> None:
    assert typed(decode_kept(encode_kept(value))) == typed(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"done": 3, "names": ["a"]}, '{"done":3,"names":["a"]}'),
        ({"seen": {3, 1, 2}}, '{"seen":{"$set":[1,2,3]}}'),
        ({1: "a"}, '{"$dict":[[1,"a"]]}'),
        ({"$set": [1]}, '{"$dict":[["$set",[1]]]}'),
        (Counter({"a": 2}), '{"$counter":[["a",2]]}'),
        (math.inf, '{"$float":"inf"}'),
        (2**64, '{"$int":"0x10000000000000000"}'),
    ],
)
def test_only_what_json_lacks_is_marked(value: object, text: str) -> None:
    assert encode_kept(value) == text
    assert typed(decode_kept(text)) == typed(value)


def test_what_is_no_number_can_be_kept() -> None:
    kept = decode_kept(encode_kept([math.nan]))
    assert isinstance(kept, list)
    assert math.isnan(kept[0])


def test_an_integer_of_any_length_can_be_kept() -> None:
    assert decode_kept(encode_kept(-(10**5000))) == -(10**5000)


def test_a_defaultdict_goes_on_making_its_defaults() -> None:
    kept = decode_kept(encode_kept(defaultdict(list, a=[1])))
    assert isinstance(kept, defaultdict)
    assert kept["new"] == []


def test_a_bounded_deque_stays_bounded() -> None:
    kept = decode_kept(encode_kept(deque([1, 2, 3], maxlen=3)))
    assert isinstance(kept, deque)
    assert (kept.maxlen, list(kept)) == (3, [1, 2, 3])


def test_equal_sets_are_kept_as_equal_text() -> None:
    names = [f"name {number}" for number in range(100)]
    assert encode_kept(set(names)) == encode_kept({*reversed(names)})


def invented() -> int:
    return 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Session(), "value is of a type that has no form in JSON: use plain data, such as its key or its fields"),
        ({"a": [1, Session()]}, "value['a'][1] is of a type that has no form in JSON"),
        ({Session(): 1}, "is of a type that has no form in JSON"),
        ({1, Color.RED}, "is of a type that has no form in JSON"),
        (Row(1), "value is of a type that has no form in JSON"),
        (Point(1, 2), "value is of a type that has no form in JSON"),
        (defaultdict(invented), "value must be a defaultdict of int, float, str, list, dict, set"),
        ({"\ud800": 1}, "it holds text with a lone surrogate"),
        (["\ud800"], "it holds text with a lone surrogate"),
        (nested(201), "is nested more than 200 levels deep, or contains itself"),
        (nested(100_000), "is nested more than 200 levels deep, or contains itself"),
        (endless(), "is nested more than 200 levels deep, or contains itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_what_cannot_come_back_the_same_cannot_be_kept(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=r"^the value cannot be kept: ") as caught:
        encode_kept(value)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ['{"$unheard":1}', '{"$object":["Row",{"id":1}]}', '{"$enum":["Color","RED"]}'])
def test_kept_text_makes_no_class_of_the_user(text: str) -> None:
    with pytest.raises(ValueError, match=r"is marked '.unheard'|which is none of the basic types"):
        decode_kept(text)


@pytest.mark.parametrize("make", [date.today, datetime.now, partial(time, 12)])
def test_a_moment_is_kept_with_its_type(make: Callable[[], object]) -> None:
    value = make()
    assert typed(decode_kept(encode_kept([value]))) == typed([value])
