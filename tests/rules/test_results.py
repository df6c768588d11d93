"""Results travel by value, and are read as their annotation says."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from posthorse.errors import TooLarge
from posthorse.rules.values.results import decode_result, encode_result
from tests.rules.odd_values import Point, Session, endless, nested

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
