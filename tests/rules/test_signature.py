"""Arguments are bound, checked without coercion, and arrive as they were sent."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import typing
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from types import ModuleType
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Required, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from posthorse.errors import InvalidArgument, TooLarge
from posthorse.rules.arguments.annotations import annotations_of_fields
from posthorse.rules.arguments.signature import ArgumentsUnfit, Signature

if typing.TYPE_CHECKING:
    from somewhere import Known  # type: ignore[import-not-found]

T = TypeVar("T")


class Context(Generic[T]):
    """The stand-in for the class that the worker passes to jobs."""


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1


class Word(StrEnum):
    YES = "yes"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Shade(Enum):
    """Values of several types, none of which JSON could certainly give back."""

    LIGHT = (1, 2)
    DARK = 1.5
    NONE = "none"


@dataclasses.dataclass
class Item:
    price: int
    when: date | None = None


@dataclasses.dataclass
class Order:
    items: list[Item]
    id: UUID


@dataclasses.dataclass
class Loose:
    """Everything that JSON alone would leave in doubt."""

    id: str | UUID
    numbers: Sequence[int] = ()
    shade: Shade = Shade.LIGHT
    inner: Loose | None = None
    by_place: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict[tuple[int, int], str])


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@dataclasses.dataclass
class BoxOfInt(Box[int]):
    label: str = ""


@dataclasses.dataclass
class Summed:
    parts: list[int]
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.total = sum(self.parts)


@dataclasses.dataclass
class Doubling:
    amount: int

    def __post_init__(self) -> None:
        self.amount *= 2


@dataclasses.dataclass(eq=False)
class Nameless:
    tags: set[str]


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    name: str
    size: NotRequired[int]


class Leaf(msgspec.Struct):
    value: int
    below: Leaf | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class User(BaseModel):
    name: str
    born: datetime
    score: float = Field(default=1.0, alias="points")
    _cache: list[int] = PrivateAttr(default_factory=list[int])


class Secret(BaseModel):
    word: SecretStr


class Forgetful(BaseModel):
    name: str
    hidden: int = Field(default=1, exclude=True)


UserId = typing.NewType("UserId", int)


def signature_of(function: Callable[..., object], **options: Any) -> Signature:  # noqa: ANN401 - passed on
    return Signature(function, kind="welcome", context_type=Context, **options)


def taking(annotation: object) -> Signature:
    """Return the signature of `welcome(order)` with this annotation."""

    def welcome(order: object) -> None: ...

    welcome.__annotations__["order"] = annotation
    return signature_of(welcome)


def taking_unannotated() -> Signature:
    def welcome(order: object) -> None: ...

    welcome.__annotations__.clear()
    return signature_of(welcome)


def there_and_back(annotation: object, value: object) -> object:
    signature = taking(annotation)
    args, kwargs = signature.decode(signature.encode((value,), {}))
    assert kwargs == {}
    return args[0]


def stored(signature: Signature, *args: object, **kwargs: object) -> object:
    return json.loads(signature.encode(args, kwargs))


def refusal(annotation: object, value: object) -> str:
    with pytest.raises(InvalidArgument) as caught:
        taking(annotation).encode((value,), {})
    return str(caught.value)


def typed(value: object) -> object:
    """Return the value with the type of each part, because 1 == 1.0 == True."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, frozenset((typed(key), typed(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(typed(item) for item in value)
    if isinstance(value, list | tuple):
        return kind, tuple(typed(item) for item in value)
    if dataclasses.is_dataclass(value):
        return kind, tuple(typed(getattr(value, field.name)) for field in dataclasses.fields(value))
    return kind, None if kind is User else value


# ---- Binding


def welcome(user_id: int, when: int = 3, *, loud: bool = False) -> str:
    return f"{user_id} {when} {loud}"


def variadic(first: int, /, *rest: int, last: str = "z", **others: float) -> None: ...


def test_arguments_are_stored_by_parameter_name_without_open_defaults() -> None:
    assert signature_of(welcome).encode((7,), {}) == '{"user_id":7}'
    assert signature_of(welcome).encode((), {"loud": True, "user_id": 7}) == '{"user_id":7,"loud":true}'


def test_a_call_comes_back_as_the_call_it_was() -> None:
    signature = signature_of(welcome)
    args, kwargs = signature.decode(signature.encode((7,), {"loud": True}))
    assert welcome(*args, **kwargs) == "7 3 True"  # type: ignore[arg-type]


def test_a_default_left_open_before_a_given_argument_is_that_of_the_code_now() -> None:
    def job(a: int, b: int = 20, c: int = 30) -> tuple[int, int, int]:
        return a, b, c

    args, kwargs = signature_of(job).decode('{"a":1,"c":3}')
    assert job(*args, **kwargs) == (1, 20, 3)  # type: ignore[arg-type]


def test_collecting_parameters_store_a_list_and_an_object_under_their_own_names() -> None:
    signature = signature_of(variadic)
    text = signature.encode((1, 2, 3), {"last": "x", "first": 1.5, "rest": 2.5})
    assert json.loads(text) == {
        "first": 1,
        "rest": [2, 3],
        "last": "x",
        "others": {"first": 1.5, "rest": 2.5},
    }
    assert signature.decode(text) == ((1, 2, 3), {"last": "x", "first": 1.5, "rest": 2.5})


def test_collecting_parameters_are_checked_item_by_item() -> None:
    with pytest.raises(InvalidArgument, match=r"argument rest\[1\] must be int; got str 'x'"):
        signature_of(variadic).encode((1, 2, "x"), {})
    with pytest.raises(InvalidArgument, match=r"argument others\['size'\] must be float; got str 'x'"):
        signature_of(variadic).encode((1,), {"size": "x"})


def test_keyword_parameters_may_be_a_typed_dict() -> None:
    def job(**options: Unpack[Options]) -> None: ...

    signature = signature_of(job)
    assert signature.decode(signature.encode((), {"name": "a"})) == ((), {"name": "a"})
    with pytest.raises(InvalidArgument, match="is missing the key 'name' of Options"):
        signature.encode((), {"size": 1})


def test_a_function_without_parameters_stores_an_empty_object() -> None:
    def job() -> None: ...

    assert signature_of(job).encode((), {}) == "{}"
    assert signature_of(job).decode("{}") == ((), {})


def test_a_call_with_all_defaults_stores_an_empty_object() -> None:
    def job(a: int = 1, *rest: int, b: int = 2, **others: int) -> None: ...

    assert signature_of(job).encode((), {}) == "{}"
    assert signature_of(job).decode("{}") == ((), {})


def no_arguments() -> None: ...


def positional_only(user_id: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "words"),
    [
        (welcome, (1,), {"usr_id": 2}, "got an unexpected argument 'usr_id'; did you mean 'user_id'?"),
        (welcome, (1,), {"zzz": 2}, "got an unexpected argument 'zzz'; it takes user_id, when, loud"),
        (welcome, (), {}, "is missing the argument 'user_id'"),
        (welcome, (1, 2, 3), {}, "takes 2 positional arguments (user_id, when), but 3 came; surplus: 3"),
        (welcome, (1,), {"user_id": 2}, "got 'user_id' twice, by position and by name"),
        (no_arguments, (5,), {}, "takes 0 positional arguments, but 1 came; surplus: 5"),
        (no_arguments, (), {"x": 5}, "got an unexpected argument 'x'; it takes none"),
        (positional_only, (), {"user_id": 5}, "takes 'user_id' by position only"),
        (variadic, (), {"first": 5.0}, "is missing the argument 'first'"),
    ],
)
def test_a_call_that_does_not_bind_says_why(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        signature_of(function).encode(args, kwargs)
    assert str(caught.value) == f"welcome() {words}"


def test_several_missing_arguments_are_named_together() -> None:
    def job(a: int, b: int, c: int) -> None: ...

    with pytest.raises(InvalidArgument, match=r"welcome\(\) is missing the arguments 'a', 'b' and 'c'"):
        signature_of(job).encode((), {})


# ---- Checks


@pytest.mark.parametrize(
    ("annotation", "value", "expected", "came"),
    [
        (int, "7", "int", "str '7'"),
        (int, True, "int", "bool True"),
        (int, 1.0, "int", "float 1.0"),
        (int, None, "int", "None"),
        (float, True, "float", "bool True"),
        (float, "1", "float", "str '1'"),
        (bool, 1, "bool", "int 1"),
        (str, b"x", "str", "bytes b'x'"),
        (bytes, "x", "bytes", "str 'x'"),
        (datetime, "2026-01-01", "datetime", "str '2026-01-01'"),
        (date, datetime(2026, 1, 1, tzinfo=UTC), "date", "datetime datetime.datetime(2026, 1, 1"),
        (UUID, str(UUID(int=1)), "UUID", "str '00000000-"),
        (Decimal, 1.5, "Decimal", "float 1.5"),
        (Decimal, 1, "Decimal", "int 1"),
        (timedelta, 5, "timedelta", "int 5"),
        (Color, "red", "Color", "str 'red'"),
        (Word, "yes", "Word", "str 'yes'"),
        (Size, 1, "Size", "int 1"),
        (Literal[1, "a"], True, "1 or 'a'", "bool True"),
        (Literal[1, "a"], "b", "1 or 'a'", "str 'b'"),
        (list[int], (1,), "list[int]", "tuple (1,)"),
        (tuple[int, str], [1, "a"], "tuple[int, str]", "list [1, 'a']"),
        (tuple[int, str], (1,), "tuple[int, str]", "tuple (1,)"),
        (set[int], [1], "set[int]", "list [1]"),
        (frozenset[int], {1}, "frozenset[int]", "set {1}"),
        (Sequence[str], "abc", "Sequence[str]", "str 'abc'"),
        (dict[str, int], [("a", 1)], "dict", "list [('a', 1)]"),
        (int | None, "7", "int | None", "str '7'"),
        (Order, {"items": []}, "Order", "dict {'items': []}"),
        (Point, (1, 2), "Point", "tuple (1, 2)"),
        (Leaf, {"value": 1}, "Leaf", "dict {'value': 1}"),
        (User, {"name": "a"}, "User", "dict {'name': 'a'}"),
        (Options, [], "Options", "list []"),
    ],
)
def test_nothing_is_coerced(annotation: object, value: object, expected: str, came: str) -> None:
    assert refusal(annotation, value).startswith(f"welcome(): argument order must be {expected}; got {came}")


@pytest.mark.parametrize(
    ("annotation", "value", "place"),
    [
        (Order, Order([Item(1), Item(2), Item("7")], uuid.uuid4()), "order.items[2].price"),  # type: ignore[arg-type]
        (Order | None, Order([Item("7")], uuid.uuid4()), "order.items[0].price"),  # type: ignore[arg-type]
        (dict[str, list[int]], {"a": [1, "7"]}, "order['a'][1]"),
        (dict[int, str], {"7": "a"}, "order[key '7']"),
        (tuple[str, int], ("a", "7"), "order[1]"),
        (Box[int], Box("7"), "order.content"),
        (BoxOfInt, BoxOfInt("7"), "order.content"),  # type: ignore[arg-type]
        (Leaf, Leaf(1, Leaf("7")), "order.below.value"),  # type: ignore[arg-type]
        (Point, Point(1, "7"), "order.y"),  # type: ignore[arg-type]
        (list[Options], [{"name": "a", "size": "7"}], "order[0]['size']"),
    ],
)
def test_an_error_inside_a_value_names_the_place(annotation: object, value: object, place: str) -> None:
    assert f"argument {place} must be int; got str '7'" in refusal(annotation, value)


def test_an_error_shows_a_long_value_in_brief() -> None:
    assert len(refusal(int, "x" * 10_000)) < 200
    assert len(refusal(int, [[["deep"] * 1000] * 1000] * 1000)) < 300


def test_an_error_survives_a_value_whose_repr_raises() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    assert "must be int; got Broken <" in refusal(int, Broken())


def test_a_subclass_instance_is_refused_where_it_would_arrive_as_its_base() -> None:
    class Special(Item):
        pass

    assert "must be exactly Item, because its subclass would arrive as Item; got Special" in refusal(Item, Special(1))


def test_a_subclass_of_a_plain_type_arrives_as_the_equal_plain_value() -> None:
    class Name(str):
        __slots__ = ()

    class Moment(datetime):
        pass

    now = Moment(2026, 5, 1, 12, 30, 15, 99, tzinfo=UTC)
    assert typed(there_and_back(str, Name("Ann"))) == (str, "Ann")
    assert typed(there_and_back(datetime, now)) == (datetime, now)
    assert typed(there_and_back(datetime | str, now)) == (datetime, now)
    assert typed(there_and_back(int, Size.SMALL)) == (int, 1)
    assert there_and_back(dict[str, int], OrderedDict(a=1)) == {"a": 1}


def test_an_int_goes_for_a_float_that_holds_it_exactly() -> None:
    assert typed(there_and_back(float, 2**53)) == (float, float(2**53))
    assert "an int that a float holds exactly" in refusal(float, 2**53 + 1)


@pytest.mark.parametrize("annotation", [int, Any, int | None, dict[str, int] | int])
@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_integers_of_64_bits_travel_exactly(annotation: object, value: int) -> None:
    assert typed(there_and_back(annotation, value)) == (int, value)


@pytest.mark.parametrize("annotation", [int, Any, int | None, float | int | str])
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, pytest.param(10**5000, id="of 5,000 digits")])
def test_larger_integers_are_refused(annotation: object, value: int) -> None:
    assert "must fit 64 bits; send larger integers as str or Decimal" in refusal(annotation, value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("annotation", "wrap"), [(float, lambda v: v), (list[float], lambda v: [v]), (Any, lambda v: {"a": [v]})]
)
def test_numbers_that_json_lacks_are_refused(annotation: object, wrap: Callable[[float], object], value: float) -> None:
    assert "must be finite, because JSON has neither NaN nor Infinity" in refusal(annotation, wrap(value))


def test_a_decimal_that_is_no_number_is_refused() -> None:
    assert "must be finite" in refusal(Decimal, Decimal("NaN"))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "a\ud800"),
        (Any, ["a\ud800"]),
        (Any, {"a\ud800": 1}),
        (dict[str, int], {"a\ud800": 1}),
        (str | UUID, "\ud800"),
    ],
)
def test_lone_surrogates_are_refused(annotation: object, value: object) -> None:
    assert "must be text without lone surrogates" in refusal(annotation, value)


def test_the_null_character_travels_and_is_escaped_in_the_text() -> None:
    assert there_and_back(str, "a\0b") == "a\0b"
    assert taking(str).encode(("\0",), {}).isprintable()


def test_offsets_with_seconds_are_refused_because_they_would_be_cut() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=3208)))
    assert "UTC offset of whole minutes" in refusal(datetime, moment)


def test_limits_in_annotations_hold_at_the_door() -> None:
    positive = Annotated[int, msgspec.Meta(ge=1)]
    assert there_and_back(positive, 1) == 1
    assert "is outside its limits (Expected `int` >= 1); got int 0" in refusal(positive, 0)
    assert "argument order[0] is outside" in refusal(list[positive], [0])
    assert there_and_back(Annotated[int, "a note"], 1) == 1


def test_a_typed_dict_has_its_keys_and_no_others() -> None:
    assert "is missing the key 'name' of Options" in refusal(Options, {"size": 1})
    assert "has the key 'colour', which Options has not" in refusal(Options, {"name": "a", "colour": 1})


@pytest.mark.parametrize("annotation", [type[int], Callable[[], int], complex, range, object(), [int], Context])
def test_an_annotation_that_cannot_travel_is_refused_when_a_value_is_passed(annotation: object) -> None:
    def job(order: int, client: object = None) -> None: ...

    job.__annotations__["client"] = annotation
    signature = signature_of(job)
    assert signature.decode(signature.encode((1,), {})) == ((1,), {})
    with pytest.raises(InvalidArgument, match=r"argument client is annotated .*, which cannot travel"):
        signature.encode((1, 2), {})


# ---- Plain JSON where no annotation says more


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", [1, [None]], {"a": {"b": []}}])
def test_unannotated_parameters_take_plain_json(value: object) -> None:
    for signature in (taking_unannotated(), taking(Any), taking(object), taking(T)):
        args, _ = signature.decode(signature.encode((value,), {}))
        assert typed(args[0]) == typed(value)


def test_a_tuple_comes_back_as_a_list_where_no_annotation_says_more() -> None:
    assert there_and_back(Any, (1, (2,))) == [1, [2]]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (datetime.now(UTC), "order"),
        ({"a": [uuid.uuid4()]}, "order['a'][0]"),
        ([{1, 2}], "order[0]"),
        ([Item(1)], "order[0]"),
        ([b"x"], "order[0]"),
        (Color.RED, "order"),
        (object(), "order"),
    ],
)
def test_other_types_are_refused_where_no_annotation_says_them(value: object, place: str) -> None:
    words = f"argument {place} is not plain JSON; other types can be stored if the annotation names them; got "
    assert words in refusal(Any, value)


def test_keys_that_json_would_turn_into_text_are_refused_where_no_annotation_says_them() -> None:
    message = refusal(Any, {"1": 1, 1: 2})
    assert "order has a key that is not str; annotate the dict, such as dict[int, object]; got int 1" in message


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_deep_values_travel_up_to_the_limit_and_no_further() -> None:
    assert there_and_back(Any, nested(200)) == nested(200)
    assert "is nested more than 200 levels deep, or contains itself" in refusal(Any, nested(201))
    assert "is nested more than 200 levels deep" in refusal(Any, nested(100_000))


def test_cycles_are_refused() -> None:
    items: list[object] = []
    items.append(items)
    leaf = Leaf(1)
    leaf.below = leaf
    loose = Loose("a")
    loose.inner = loose
    for annotation, value in [
        (Any, items),
        (list[Any], items),
        (Leaf, leaf),
        (Loose, loose),
        (list[Loose], [loose]),
    ]:
        assert "is nested more than 200 levels deep, or contains itself" in refusal(annotation, value)


def test_the_limit_of_size_counts_bytes_and_says_what_to_do() -> None:
    signature = taking(str)
    text = signature.encode(("é" * 10,), {}, limit=32)
    assert len(text.encode()) == 32
    with pytest.raises(TooLarge) as caught:
        signature.encode(("é" * 10,), {}, limit=31)
    assert str(caught.value) == (
        "the arguments of welcome() would take 32 bytes as JSON and the limit is 31; "
        "keep the bulk in a table or a file and pass its key or path"
    )


def test_four_megabytes_are_the_limit_by_default() -> None:
    with pytest.raises(TooLarge, match="the limit is 4,194,304"):
        taking(str).encode(("x" * 4 * 1024 * 1024,), {})


# ---- There and back

SCALARS: list[tuple[object, st.SearchStrategy[object]]] = [
    (int, st.integers(-(2**63), 2**64 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, st.text()),
    (bytes, st.binary()),
    (type(None), st.none()),
    (
        datetime,
        st.datetimes(
            timezones=st.none() | st.builds(timezone, st.integers(-839, 839).map(lambda m: timedelta(minutes=m)))
        ),
    ),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Color, st.sampled_from(Color)),
    (Size, st.just(Size.SMALL)),
    (Word, st.just(Word.YES)),
    (Shade, st.sampled_from(Shade)),
    (Rights, st.integers(0, 3).map(Rights)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Literal[Color.RED, True], st.sampled_from([Color.RED, True])),
    (UserId, st.integers(0, 1000)),
]
"""Annotations and the values that fit them; all can be keys."""


# It is subscripted with drawn annotations; type checkers need not follow.
BOX: Any = Box
DICT: Any = dict
FROZENSET: Any = frozenset
LIST: Any = list
SEQUENCE: Any = Sequence
SET: Any = set
TUPLE: Any = tuple
UNION: Any = typing.Union

Drawn = tuple[Any, st.SearchStrategy[Any]]
"""An annotation and a strategy for values that fit it."""

HASHABLE: list[Callable[[Drawn, Drawn], Drawn]] = [
    lambda a, b: (TUPLE[a[0], b[0]], st.tuples(a[1], b[1])),
    lambda a, b: (TUPLE[a[0], ...], st.lists(a[1], max_size=3).map(tuple)),
    lambda a, b: (UNION[a[0], b[0]], a[1] | b[1]),
    lambda a, b: (UNION[a[0], None], a[1] | st.none()),
    lambda a, b: (FROZENSET[a[0]], st.frozensets(a[1], max_size=3)),
]
OTHERS: list[Callable[[Drawn, Drawn], Drawn]] = [
    lambda a, b: (LIST[a[0]], st.lists(a[1], max_size=3)),
    lambda a, b: (BOX[a[0]], a[1].map(Box)),
    lambda a, b: (
        SEQUENCE[a[0]],
        st.lists(a[1], max_size=3).flatmap(lambda items: st.sampled_from([items, tuple(items)])),
    ),
]
WITH_KEYS: list[Callable[[Drawn, Drawn], Drawn]] = [
    lambda key, a: (SET[key[0]], st.sets(key[1], max_size=3)),
    lambda key, a: (DICT[key[0], a[0]], st.dictionaries(key[1], a[1], max_size=3)),
]


@st.composite
def annotated(draw: st.DrawFn, levels: int, *, hashable: bool = False) -> Drawn:
    if levels == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(SCALARS))
    make = draw(st.sampled_from(HASHABLE if hashable else [*HASHABLE, *OTHERS, *WITH_KEYS]))
    must_hash = hashable or make in WITH_KEYS or make is HASHABLE[-1]
    first = draw(annotated(levels - 1, hashable=must_hash))
    return make(first, draw(annotated(levels - 1, hashable=hashable)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_arrives_is_equal_to_what_was_sent_and_of_the_same_types(data: st.DataObject) -> None:
    annotation, values = data.draw(annotated(levels=3))
    value = data.draw(values)
    assert typed(there_and_back(annotation, value)) == typed(value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Order, Order([Item(1), Item(2, date(2026, 1, 1))], uuid.uuid4())),
        (Order | Item, Item(1)),
        (Order | Item | None, Order([], uuid.uuid4())),
        (Loose, Loose("a", [1], Shade.DARK, Loose(uuid.uuid4(), (1, 2)), {(1, 2): "x"})),
        (list[Loose] | None, [Loose(uuid.uuid4())]),
        (Box[str | bytes], Box(b"x")),
        (Box[list[int]] | Box[str], Box("x")),
        (BoxOfInt, BoxOfInt(1, "a")),
        (Summed, Summed([1, 2])),
        (Summed | Item, Summed([1, 2])),
        (Point, Point(1)),
        (Point | Order, Point(1, 2)),
        (list[Point], [Point(1, 2)]),
        (Options, {"name": "a"}),
        (Options | Item, {"name": "a", "size": 1}),
        (Leaf, Leaf(1, Leaf(2))),
        (Leaf | Item, Leaf(1, Leaf(2))),
        (Circle | Square, Square(1.5)),
        (User, User(name="Ann", born=datetime(2000, 1, 1, tzinfo=UTC), points=2.5)),
        (User | None, User(name="Ann", born=datetime(2000, 1, 1, tzinfo=UTC))),
        (User | int, User(name="Ann", born=datetime(2000, 1, 1, tzinfo=UTC))),
        (dict[str, User], {"a": User(name="Ann", born=datetime(2000, 1, 1, tzinfo=UTC))}),
        (Iterable[int], frozenset([1])),
        (Mapping[str, int], {"a": 1}),
        (date | datetime, datetime(2026, 1, 1, tzinfo=UTC)),
        (date | datetime, date(2026, 1, 1)),
        (dict[int | str, int], {1: 1, "1": 2}),
        (dict[Literal["1", 1], int], {1: 1, "1": 2}),
        (dict[str, int] | UUID, {"$uuid": 1, "$": 2}),
        (set[Any], {(1, 2), "a", None}),
        (bytearray, bytearray(b"x")),
        (typing.LiteralString, "a"),
        ("Order | None", None),
    ],
)
def test_values_of_classes_arrive_as_they_were_sent(annotation: object, value: object) -> None:
    arrived = there_and_back(annotation, value)
    assert arrived == value
    assert typed(arrived) == typed(value)


def test_instances_without_equality_arrive_with_their_fields() -> None:
    arrived = there_and_back(Nameless, Nameless({"a", "b"}))
    assert isinstance(arrived, Nameless)
    assert arrived.tags == {"a", "b"}


def test_a_class_that_would_not_come_back_the_same_is_refused() -> None:
    message = refusal(Doubling, Doubling(1))
    assert "argument order would come back from JSON as another: Doubling(amount=4) for Doubling(amount=2)" in message


def test_a_trial_of_one_argument_leaves_the_others_alone() -> None:
    def job(item: Item, anything: object) -> None: ...

    signature = signature_of(job)
    assert signature.decode(signature.encode((Item(1), (1, 2)), {})) == ((Item(1), [1, 2]), {})


def test_a_value_that_cannot_say_what_it_is_is_named() -> None:
    class Tags(list[str]):
        pass

    def job(tags: Sequence[str], other: int) -> None: ...

    with pytest.raises(InvalidArgument, match="argument tags is of a type that has no form in JSON"):
        signature_of(job).encode((Tags(["a"]), 1), {})


def test_a_model_that_would_lose_a_field_is_refused_and_the_field_named() -> None:
    assert "argument order.word would come back from JSON as" in refusal(Secret, Secret(word=SecretStr("x")))
    assert "argument order.hidden would come back from JSON as 1; got int 3" in refusal(
        Forgetful, Forgetful(name="a", hidden=3)
    )
    assert "would not come back from JSON" in refusal(User, User.model_construct(name=5))


def test_what_json_can_tell_apart_is_stored_plainly() -> None:
    assert stored(taking(Order), Order([Item(1)], UUID(int=1))) == {
        "order": {"items": [{"price": 1, "when": None}], "id": "00000000-0000-0000-0000-000000000001"}
    }
    assert stored(taking(int | str | None), "a") == {"order": "a"}
    assert stored(taking(dict[UserId, str]), {UserId(1): "a"}) == {"order": {"1": "a"}}
    assert stored(taking(Color), Color.RED) == {"order": "red"}


def test_what_json_cannot_tell_apart_says_what_it_is() -> None:
    assert stored(taking(str | UUID), "a") == {"order": "a"}
    assert stored(taking(str | UUID), UUID(int=1)) == {"order": {"$uuid": "00000000-0000-0000-0000-000000000001"}}
    assert stored(taking(Sequence[int]), [1]) == {"order": [1]}
    assert stored(taking(Sequence[int]), (1,)) == {"order": {"$tuple": [1]}}


def test_equal_sets_are_stored_as_equal_text_in_every_process() -> None:
    program = (
        "from posthorse.rules.arguments.signature import Signature\n"
        "def job(tags: set[str], more: set[str] | list[str]) -> None: ...\n"
        "tags = {'red', 'green', 'blue', 'white', 'black'}\n"
        "print(Signature(job, kind='job', context_type=type('Context', (), {})).encode((tags, tags), {}))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert texts == {
        '{"tags":["black","blue","green","red","white"],"more":{"$set":["black","blue","green","red","white"]}}\n'
    }


# ---- Annotations as text, context, results


def test_a_class_known_only_to_the_enclosing_function_is_found_through_its_closure() -> None:
    @dataclasses.dataclass
    class Local:
        size: int

    def job(local: Local) -> object:
        return Local

    signature = signature_of(job)
    assert signature.decode(signature.encode((Local(1),), {})) == ((Local(1),), {})


def test_a_name_defined_after_the_function_is_found_at_the_first_call() -> None:
    namespace: dict[str, Any] = {}
    exec("def job(when: 'Later') -> 'Later': ...", namespace)
    signature = signature_of(namespace["job"])
    namespace["Later"] = date
    assert signature.decode(signature.encode((date(2026, 1, 1),), {})) == ((date(2026, 1, 1),), {})
    assert signature.result_type is date


def test_a_name_that_nobody_knows_is_an_error_at_the_first_use_and_names_the_annotation() -> None:
    def job(order: int, known: Known = None) -> Known: ...

    signature = signature_of(job)
    assert signature.encode((1,), {}) == '{"order":1}'
    assert signature.result_type is Any
    with pytest.raises(InvalidArgument) as caught:
        signature.encode((1, 2), {})
    assert str(caught.value) == (
        "welcome(): argument known has an annotation, 'Known', that cannot be read "
        "(name 'Known' is not defined): define or import what it names at the top of the module; got int 2"
    )
    with pytest.raises(ArgumentsUnfit, match="'Known', that cannot be read"):
        signature.decode('{"order":1,"known":2}')


def context_first(ctx: Context[int], week: str) -> int:
    raise NotImplementedError


def context_by_any_name(job: Context[Any], week: str) -> int:
    raise NotImplementedError


def context_as_text(job: Context[int], week: str) -> int:
    raise NotImplementedError


def context_second(week: str, job: Context[int] | None = None) -> int:
    raise NotImplementedError


def named_ctx_but_annotated(ctx: int) -> int:
    raise NotImplementedError


@pytest.mark.parametrize("function", [context_first, context_by_any_name, context_as_text])
def test_a_context_in_first_place_is_no_argument(function: Callable[..., object]) -> None:
    signature = signature_of(function)
    assert signature.wants_context
    assert signature.encode(("2026-W47",), {}) == '{"week":"2026-W47"}'
    assert signature.decode('{"week":"2026-W47"}') == (("2026-W47",), {})


def test_an_unannotated_first_parameter_named_ctx_is_the_context() -> None:
    def job(ctx: object, week: str) -> None: ...

    del job.__annotations__["ctx"]
    assert signature_of(job).wants_context


@pytest.mark.parametrize("annotation", ["ph.Context", "Context", "'posthorse.Context[int]'"])
def test_a_context_imported_for_type_checkers_only_is_known_by_its_name(annotation: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def job(ctx: {annotation}, week: str) -> None: ...", namespace)
    assert signature_of(namespace["job"]).wants_context


def context_or_none(ctx: Context[int] | None = None, week: str = "") -> int:
    raise NotImplementedError


def context_optional(job: typing.Optional[Context[int]], week: str) -> int:  # noqa: UP045 - as many write it
    raise NotImplementedError


def context_annotated(job: Annotated[Context[int], "given"], week: str) -> int:
    raise NotImplementedError


@pytest.mark.parametrize("function", [context_or_none, context_optional, context_annotated])
def test_a_context_that_may_be_none_or_has_notes_is_given_all_the_same(function: Callable[..., object]) -> None:
    assert signature_of(function).wants_context
    assert signature_of(function).encode(("2026-W47",), {}) == '{"week":"2026-W47"}'


@pytest.mark.parametrize(
    "annotation",
    [
        *("ph.Context | None", "None | Context[int]", "Optional[ph.Context]", "typing.Union[None, 'Context']"),
        *("Annotated[Context, 'given']", "'ph.Context | None'"),
    ],
)
def test_so_is_one_that_only_type_checkers_import(annotation: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef job(ctx: {annotation}, week: str) -> None: ...", namespace)
    assert signature_of(namespace["job"]).wants_context


@pytest.mark.parametrize(
    "annotation", ["list[Context]", "type[ph.Context]", "Contexts", "Callable[[Context], None]", "("]
)
def test_what_only_mentions_a_context_is_none(annotation: str) -> None:
    def job(ctx: object, week: str) -> None: ...

    job.__annotations__["ctx"] = annotation
    assert not signature_of(job).wants_context


@pytest.mark.parametrize("function", [context_second, named_ctx_but_annotated, no_arguments, variadic])
def test_everything_else_is_no_context(function: Callable[..., object]) -> None:
    assert not signature_of(function).wants_context


async def coroutine() -> list[int]:
    raise NotImplementedError


def awaitable() -> Awaitable[str]:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "expected"),
    [(coroutine, list[int]), (awaitable, str), (welcome, str), (no_arguments, type(None))],
)
def test_the_result_type_is_what_a_caller_gets(function: Callable[..., object], expected: object) -> None:
    assert signature_of(function).result_type == expected


def test_the_result_type_is_open_where_nothing_is_said() -> None:
    def job() -> None: ...

    job.__annotations__.clear()
    assert signature_of(job).result_type is Any


def test_wrapped_partial_and_bound_functions_are_read_through() -> None:
    @functools.wraps(welcome)
    def wrapped(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - passed on
        return welcome(*args, **kwargs)

    class Handler:
        def handle(self, order: Order) -> None: ...
        def __call__(self, order: Order) -> None: ...

    order = Order([], uuid.uuid4())
    assert signature_of(wrapped).encode((7,), {}) == '{"user_id":7}'
    assert signature_of(functools.partial(welcome, loud=True)).encode((7,), {}) == '{"user_id":7}'
    for function in (Handler().handle, Handler()):
        signature = signature_of(function)
        assert signature.decode(signature.encode((order,), {})) == ((order,), {})


# ---- Type parameters, which texts of annotations name


def test_type_parameters_of_a_function_are_found_in_texts() -> None:
    namespace: dict[str, Any] = {}
    exec("def job(one: 'T', many: 'list[T]' = []) -> 'T': ...", namespace)
    job = namespace["job"]
    job.__type_params__ = (TypeVar("T", int, str),)  # as `def job[T: (int, str)]` has them from Python 3.12 on
    signature = signature_of(job)
    assert signature.decode(signature.encode((1, ["a"]), {})) == ((1, ["a"]), {})
    with pytest.raises(InvalidArgument, match=r"argument one must be int \| str"):
        signature.encode((1.5,), {})


GENERIC_CLASSES = """
import dataclasses, typing
T = typing.TypeVar("T")
class Shelf(typing.TypedDict, typing.Generic[T]):
    v: "T"
Shelf.__type_params__ = (T,)
S = typing.TypeVar("T")
class Wide(Shelf[int], typing.Generic[S]):
    w: "list[T]"
Wide.__type_params__ = (S,)
@dataclasses.dataclass
class Box(typing.Generic[T]):
    v: "T"
Box.__type_params__ = (T,)
@dataclasses.dataclass
class Crate(Box[int], typing.Generic[S]):
    w: "list[T]"
Crate.__type_params__ = (S,)
del S, T
"""


def test_type_parameters_of_classes_are_found_in_texts_and_each_class_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("of_generic_classes")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(GENERIC_CLASSES, vars(module))
    assert annotations_of_fields(module.Shelf[date]) == {"v": date}
    assert annotations_of_fields(module.Wide[str]) == {"v": int, "w": list[str]}
    assert annotations_of_fields(module.Box[date]) == {"v": date}
    assert annotations_of_fields(module.Crate[str]) == {"v": int, "w": list[str]}
    shelf = {"v": date(2026, 1, 2)}
    assert taking(module.Shelf[date]).decode(taking(module.Shelf[date]).encode((shelf,), {})) == ((shelf,), {})
    with pytest.raises(InvalidArgument, match=r"argument order\['w'\]\[0\] must be str"):
        taking(module.Wide[str]).encode(({"v": 1, "w": [2]},), {})


SYNTAX_OF_3_12 = """
import datetime as dt, typing
from dataclasses import dataclass
@dataclass
class Box[T]:
    v: T
class Shelf[T](typing.TypedDict):
    v: T
def generic[T: (int, str), *Ts](x: T, y: list[T], *rest: *Ts) -> str: ...
def boxed(x: Box[dt.date]) -> str: ...
def shelved(x: Shelf[dt.date]) -> str: ...
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
@pytest.mark.parametrize("head", ["", "from __future__ import annotations\n"])
def test_the_syntax_of_type_parameters_is_read(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("of_type_parameters")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(head + SYNTAX_OF_3_12, vars(module))
    day = date(2026, 1, 2)
    calls = [(module.generic, (1, [2], "a", "b")), (module.boxed, (module.Box(day),)), (module.shelved, ({"v": day},))]
    for function, args in calls:
        assert signature_of(function).decode(signature_of(function).encode(args, {})) == (args, {})


class Fixed(typing_extensions.TypedDict, total=False):
    born: typing_extensions.ReadOnly[date]
    name: typing_extensions.ReadOnly[Required[str]]


def test_keys_that_are_read_only_are_keys_like_others() -> None:
    fixed: Fixed = {"born": date(2026, 1, 2), "name": "Ada"}
    assert taking(Fixed).decode(taking(Fixed).encode((fixed,), {})) == ((fixed,), {})
    with pytest.raises(InvalidArgument, match=r"order\['born'\] must be date"):
        taking(Fixed).encode(({"born": "2026-01-02", "name": "Ada"},), {})
    with pytest.raises(InvalidArgument, match="missing the key 'name'"):
        taking(Fixed).encode(({"born": date(2026, 1, 2)},), {})


# ---- Old rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"user_id":7,"colour":1}', "it does not take the argument 'colour'"),
        ('{"usr_id":7}', "did you mean 'user_id'?"),
        ("{}", "it needs the argument 'user_id', which was not stored"),
        ('{"user_id":"7"}', "Expected int, got str at user_id"),
        ('{"user_id":7,"when":null}', "Expected int, got null at when"),
        ("[7]", "they are not a JSON object"),
        ("{", "they are not a JSON object"),
        ("", "they are not a JSON object"),
        ("[" * 100_000, "they are not a JSON object"),
        ('{"user_id":NaN}', "they are not a JSON object"),
        ('{"user_id":1e400}', "they are not a JSON object"),
        ("\ufeff{}", "they are not a JSON object"),
    ],
)
def test_stored_arguments_that_do_not_fit_say_which_and_why(text: str, words: str) -> None:
    with pytest.raises(ArgumentsUnfit) as caught:
        signature_of(welcome).decode(text)
    assert str(caught.value).startswith("the stored arguments do not fit welcome() as it is now: ")
    assert words in str(caught.value)


def test_a_parameter_with_a_default_may_be_added() -> None:
    def job(user_id: int, added: str = "new", *, also: int = 1) -> None: ...

    assert signature_of(job).decode('{"user_id":7}') == ((7,), {})


@pytest.mark.parametrize(
    "text",
    [
        '{"order":{"$object":["os.system",{}]}}',
        '{"order":{"$object":["Color",{}]}}',
        '{"order":{"$unheard":1}}',
        '{"order":{"$uuid":"no uuid"}}',
        '{"order":{"$object":["Loose",{"id":"a","price":1}]}}',
        '{"order":{"$object":1}}',
    ],
)
def test_stored_text_chooses_no_class_that_the_annotation_does_not_name(text: str) -> None:
    with pytest.raises(ArgumentsUnfit):
        taking(Loose | Item).decode(text)


def test_code_of_the_user_that_raises_on_arrival_is_told_as_unfit() -> None:
    @dataclasses.dataclass
    class Picky:
        size: int

        def __post_init__(self) -> None:
            if self.size > 1:
                raise LookupError("too big")

    with pytest.raises(ArgumentsUnfit, match="too big"):
        taking(Picky).decode('{"order":{"size":2}}')


def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    program = (
        "import sys\n"
        "from posthorse.rules.arguments.signature import Signature\n"
        "def job(a: int, b: list[str]) -> None: ...\n"
        "Signature(job, kind='job', context_type=type('Context', (), {})).encode((1, ['a']), {})\n"
        "sys.exit('pydantic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
