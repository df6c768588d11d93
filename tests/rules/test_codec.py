"""Results travel by value; kept values come back as they were, containers and all."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from posthorse.errors import TooLarge
from posthorse.rules.codec import decode_kept, decode_result, encode_kept, encode_result

LIMIT = 4 * 1024 * 1024


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Row:
    id: int
    content: object = None


class Struct(msgspec.Struct):
    id: int
    note: str | msgspec.UnsetType = msgspec.UNSET


class Model(BaseModel):
    id: int
    share: float = 0.5


class Point(NamedTuple):
    x: int
    y: int


class Session:
    """Something that only makes sense in one process."""


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def endless() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


def typed(value: object) -> object:
    """The value with the type of each part, because 1 == 1.0 == True."""
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


# ---- Results


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (7, "7"),
        ("a\0é", '"a\\u0000é"'),
        ([1, (2, 3)], "[1,[2,3]]"),
        ({"a": {"b": 1.5}}, '{"a":{"b":1.5}}'),
        ({1: "a", 2: "b"}, '{"1":"a","2":"b"}'),
        ({Color.RED: date(2026, 1, 1)}, '{"red":"2026-01-01"}'),
        ({1}, "[1]"),
        (deque([1, 2]), "[1,2]"),
        (Row(1, Row(2)), '{"id":1,"content":{"id":2,"content":null}}'),
        (Struct(1), '{"id":1}'),
        (Model(id=1), '{"id":1,"share":0.5}'),
        (Point(1, 2), "[1,2]"),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), '"1.50"'),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_a_result_is_stored_by_value(value: object, text: str) -> None:
    assert encode_result(value, limit=LIMIT) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Session(), "result is of a type that has no form in JSON"),
        ([Row(1), Row(2, Session())], "result[1].content is of a type that has no form in JSON"),
        ({"rows": [1, math.nan]}, "result['rows'][1] must be finite"),
        (Model(id=1, share=math.inf), "result.share must be finite"),
        (Struct(2**64), "result.id must fit 64 bits"),
        ({"a": "\ud800"}, "result['a'] must be text without lone surrogates"),
        ({1: "a", "1": "b"}, "result has different keys that are the same in JSON"),
        ({(1, 2): "a"}, "result has keys that have no form in JSON"),
        ({"\ud800": "a"}, "must be text without lone surrogates"),
        ({math.nan: "a"}, "result[key nan] must be finite"),
        ((item for item in [1]), "result is of a type that has no form in JSON"),
        (nested(201), "is nested more than 200 levels deep, or contains itself"),
        (nested(100_000), "is nested more than 200 levels deep, or contains itself"),
        (endless(), "is nested more than 200 levels deep, or contains itself"),
        (partial(print), "result is of a type that has no form in JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_a_result_without_a_form_in_json_is_refused_and_the_place_named(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=r"^the result cannot be stored: ") as caught:
        encode_result(value, limit=LIMIT)
    assert message in str(caught.value)


def test_the_type_of_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(ValueError, match="got Session <"):
        encode_result([Session()], limit=LIMIT)


def test_a_deep_result_travels_up_to_the_limit() -> None:
    assert decode_result(encode_result(nested(200), limit=LIMIT), Any) == nested(200)


def test_a_result_beyond_the_limit_of_bytes_is_too_large() -> None:
    assert encode_result("é", limit=4) == '"é"'
    with pytest.raises(TooLarge, match="the result would take 4 bytes as JSON and the limit is 3; keep the bulk"):
        encode_result("é", limit=3)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (7, int),
        (None, None),
        ({1: {date(2026, 1, 1)}}, dict[int, set[date]]),
        ([Row(1)], list[Row]),
        (Struct(1), Struct | None),
        (Model(id=1), Model),
        (Point(1, 2), Point),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime),
    ],
)
def test_a_result_comes_back_as_its_annotation_says(value: object, annotation: object) -> None:
    arrived = decode_result(encode_result(value, limit=LIMIT), annotation)
    assert type(arrived) is type(value)
    assert arrived == value


@pytest.mark.parametrize("annotation", [int, Row, Session, str | UUID, "a name", Any, object])
def test_a_result_that_does_not_fit_its_annotation_comes_back_as_json_gives_it(annotation: object) -> None:
    assert decode_result('{"a":[1]}', annotation) == {"a": [1]}


# ---- Kept values

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
