"""How single values become JSON text and come back: plain checks, results of jobs, and kept values.

Owns the forms in which values are stored. Knows nothing of functions, jobs or stores, and builds only what
the code in hand names: no stored text ever chooses a class.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import lru_cache
from reprlib import Repr
from typing import Any, Protocol, cast, get_args
from uuid import UUID

import msgspec

from posthorse.errors import TooLarge

MAX_DEPTH = 200
"""Levels of nesting that travel. Whoever nests deeper has a cycle, or a surprise for every reader of JSON."""

TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep, or contains itself"

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1


class Misfit(ValueError):
    """A value that does not fit; the way to it grows while the error climbs out of what contains it."""

    def __init__(self, complaint: str, value: object) -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.value = value
        self.steps: list[str] = []

    def in_item(self, key: object) -> Misfit:
        self.steps.append(f"[{short(key)}]")
        return self

    def in_key(self, key: object) -> Misfit:
        self.steps.append(f"[key {short(key)}]")
        return self

    def in_field(self, name: object) -> Misfit:
        self.steps.append(f".{name}")
        return self

    def told(self, root: str) -> str:
        """The sentence for people, such as `order.items[2].price must be int; got str '7'`."""
        steps = self.steps[::-1]
        if len(steps) > 20:
            steps = [*steps[:10], " … ", *steps[-10:]]
        came = "None" if self.value is None else f"{said(type(self.value))} {short(self.value)}"
        return f"{root}{''.join(steps)} {self.complaint}; got {came}"


class NotOfType(Misfit):
    """The plainest misfit; a union says the sum of these."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"must be {expected}", value)


# ---- Results: by value, whatever the annotation says


def encode_result(value: object, *, limit: int) -> str:
    """The result as JSON text of at most `limit` bytes; everything that has a form in JSON travels.

    Raises ValueError, naming the place, for what has none, and TooLarge.
    """
    try:
        _check_by_value(value, 0)
        encoded = encode(value)
    except Misfit as misfit:
        raise ValueError(f"the result cannot be stored: {misfit.told('result')}") from None
    except RecursionError:
        raise ValueError(f"the result cannot be stored: it {TOO_DEEP}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"the result cannot be stored: {error}") from error
    if len(encoded) > limit:
        raise too_large(len(encoded), limit, "the result")
    return encoded.decode()


def decode_result(text: str, type: object) -> object:
    """The result as `type` describes it, or as JSON gives it where it does not fit: results are unchecked."""
    try:
        return _decoder_of(type).decode(text)
    except (TypeError, ValueError, NameError, AttributeError):
        return _decoder_of(Any).decode(text)


def too_large(size: int, limit: int, what: str) -> TooLarge:
    """The error for text of that many bytes."""
    return TooLarge(
        f"{what} would take {size:,} bytes as JSON and the limit is {limit:,}; "
        f"keep the bulk in a table or a file and pass its key or path, or raise the limit"
    )


@lru_cache(maxsize=1024)
def _decoder_of(annotation: object) -> msgspec.json.Decoder[object]:
    return msgspec.json.Decoder(cast("type[Any]", annotation), dec_hook=restored)


def _check_by_value(value: object, depth: int) -> None:
    """What msgspec would write otherwise than it came: NaN as null, the keys 1 and "1" as the same key."""
    for base in type(value).__mro__:
        if base in SCALAR_CHECKS:
            return SCALAR_CHECKS[base](value)
    if isinstance(value, Enum):
        return _check_by_value(value.value, depth)
    if depth == MAX_DEPTH:
        raise Misfit(TOO_DEEP, value)
    step, parts = _parts(value)
    for key, part in parts:
        try:
            _check_by_value(part, depth + 1)
        except Misfit as misfit:
            raise step(misfit, key) from None
    return None


_Step = Callable[[Misfit, object], Misfit]


def _parts(value: object) -> tuple[_Step, Iterable[tuple[object, object]]]:
    if isinstance(value, dict):
        mapping = cast("dict[object, object]", value)
        _check_keys(mapping)
        return Misfit.in_item, mapping.items()
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return Misfit.in_item, enumerate(cast("Iterable[object]", value))
    if is_model(type(value)):
        return Misfit.in_field, cast("Model", value)
    names = field_names(type(value))
    if names is None:
        raise Misfit("is of a type that has no form in JSON: return plain data, or the key to it", value)
    return Misfit.in_field, _fields(value, names)


def _check_keys(mapping: dict[object, object]) -> None:
    if all(type(key) is str and key.isascii() for key in mapping):
        return
    for key in mapping:
        try:
            _check_by_value(key, 0)
        except Misfit as misfit:
            raise misfit.in_key(key) from None
    try:
        written = msgspec.json.decode(encode(dict.fromkeys(mapping)), type=dict[str, None])
    except (TypeError, ValueError):
        raise Misfit("has keys that have no form in JSON", mapping) from None
    if len(written) != len(mapping):
        raise Misfit("has different keys that are the same in JSON", mapping)


# ---- Kept values: a form that says what it is


def encode_kept(value: object) -> str:
    """The kept value as JSON text that says what each part is, so that it comes back the same.

    Takes what JSON has, integers and floats of any size, and tuple, set, frozenset, deque, dict with any
    keys, Counter, OrderedDict, defaultdict (of int, float, str, list, dict or set), datetime, date, time,
    timedelta, UUID, Decimal, bytes. Raises ValueError, naming the place, for everything else.
    """
    try:
        return msgspec.json.encode(pack(value)).decode()
    except Misfit as misfit:
        raise ValueError(f"the value cannot be kept: {misfit.told('value')}") from None
    except RecursionError:
        raise ValueError(f"the value cannot be kept: it {TOO_DEEP}") from None
    except UnicodeEncodeError:
        raise ValueError("the value cannot be kept: it holds text with a lone surrogate") from None


def decode_kept(text: str) -> object:
    """The value that `encode_kept` was given: equal to it, and of the same types."""
    stored: object = msgspec.json.decode(text)
    return unpack(stored) if '{"$' in text else stored


Class = type[object]

Names = dict[Class, str]
"""The classes of the user that a value may hold, and what each is called in its stored form."""


def pack(value: object, names: Names | None = None) -> object:
    """The value in parts that JSON has, each other part tagged: `{"$set":[1,2]}`, `{"$uuid":"…"}`.

    Goes by exact type, because a subclass would come back as its base; subclasses of text, numbers and dates
    do, as the equal plain value.
    """
    return _packed(value, names or {}, 0)


def unpack(stored: object, names: Names | None = None) -> object:
    """What was packed; builds no class but the basic ones and those in `names`."""
    return _unpacked(stored, {name: kind for kind, name in (names or {}).items()})


_Forms = tuple[str, Callable[[Any], object], Callable[[Any], object]]
"""The tag of a type, what is written under it, and the way back."""

_SCALARS: dict[type, _Forms] = {
    datetime: ("$datetime", datetime.isoformat, datetime.fromisoformat),
    date: ("$date", date.isoformat, date.fromisoformat),
    time: ("$time", time.isoformat, time.fromisoformat),
    timedelta: (
        "$timedelta",
        lambda span: [span.days, span.seconds, span.microseconds],
        lambda parts: timedelta(*parts),
    ),
    UUID: ("$uuid", str, UUID),
    Decimal: ("$decimal", str, Decimal),
    bytes: ("$bytes", bytes.hex, bytes.fromhex),
    bytearray: ("$bytearray", bytearray.hex, bytearray.fromhex),
    # Beyond what JSON has. Hexadecimal, because Python refuses to read decimal text of many digits.
    int: ("$int", hex, lambda text: int(text, 16)),
    float: ("$float", repr, float),
}
_ITEMS: dict[type, _Forms] = {
    tuple: ("$tuple", list, tuple),
    set: ("$set", lambda items: _in_order(items), set),
    frozenset: ("$frozenset", lambda items: _in_order(items), frozenset),
    collections.deque: (
        "$deque",
        lambda items: [*items, items.maxlen],
        lambda stored: collections.deque(stored[:-1], stored[-1]),
    ),
}
_PAIRS: dict[type, _Forms] = {
    dict: ("$dict", list, dict),
    collections.OrderedDict: ("$ordereddict", list, collections.OrderedDict),
    collections.Counter: ("$counter", list, lambda pairs: collections.Counter(dict(pairs))),
}
_FACTORIES: dict[str, Class] = {kind.__name__: kind for kind in (int, float, str, list, dict, set)}
_BY_TAG: dict[str, Callable[[Any], object]] = {
    **{tag: restore for forms in (_SCALARS, _ITEMS, _PAIRS) for tag, _, restore in forms.values()},
    "$defaultdict": lambda stored: collections.defaultdict(_FACTORIES.get(stored[0]), stored[1]),
}
_OBJECTS: dict[str, Callable[[Any, Any], object]] = {
    "$enum": lambda kind, name: kind[name],
    "$flag": lambda kind, value: kind(value),
    "$model": lambda kind, content: restored(kind, content),
    "$object": lambda kind, fields: _built(kind, fields),
}


def _packed(value: object, names: Names, depth: int) -> object:
    kind = type(value)
    if _is_plain_scalar(value):
        return value
    if kind in _SCALARS:
        tag, written, _ = _SCALARS[kind]
        return {tag: written(value)}
    if depth == MAX_DEPTH:
        raise Misfit(TOO_DEEP, value)
    if kind is list:
        return _packed_items(cast("list[object]", value), names, depth)
    if kind in _ITEMS:
        tag, listed, _ = _ITEMS[kind]
        return {tag: _packed_items(cast("list[object]", listed(value)), names, depth)}
    if isinstance(value, dict):
        return _packed_dict(cast("dict[object, object]", value), names, depth)
    if kind in names:
        return _packed_object(value, names, depth)
    for base in kind.__mro__:
        if base in _PLAINER:
            return _packed(_PLAINER[base](value), names, depth)
    raise Misfit("is of a type that has no form in JSON: use plain data, such as its key or its fields", value)


def _is_plain_scalar(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return _fits_64_bits(cast("int", value))
    if kind is float:
        return math.isfinite(cast("float", value))
    return value is None or kind is str or kind is bool


def _in_order(items: Collection[Any]) -> list[object]:
    """Sorted, so that equal sets give equal text in every process, wherever the items can be compared."""
    try:
        return sorted(items)
    except TypeError:
        return list(items)


def _packed_items(items: list[object], names: Names, depth: int) -> list[object]:
    # A set of a hundred thousand ids is written again at every slice: what is plain throughout is not walked.
    kinds = set(map(type, items))
    if kinds == {str}:
        return items
    if kinds == {int}:
        integers = cast("list[int]", items)
        if _fits_64_bits(min(integers)) and _fits_64_bits(max(integers)):
            return items
    return [_packed_under(Misfit.in_item, place, item, names, depth) for place, item in enumerate(items)]


def _packed_dict(mapping: dict[object, object], names: Names, depth: int) -> object:
    kind = type(mapping)
    if kind is dict and all(type(key) is str and not key.startswith("$") for key in mapping):
        return {key: _packed_under(Misfit.in_item, key, item, names, depth) for key, item in mapping.items()}
    if kind not in _PAIRS and kind is not collections.defaultdict:
        raise Misfit(f"must be a plain dict; a {said(kind)} would come back as another type", mapping)
    pairs = [
        [
            _packed_under(Misfit.in_key, key, key, names, depth),
            _packed_under(Misfit.in_item, key, item, names, depth),
        ]
        for key, item in mapping.items()
    ]
    return {_PAIRS[kind][0]: pairs} if kind in _PAIRS else {"$defaultdict": [_factory_of(mapping), pairs]}


def _factory_of(mapping: object) -> str | None:
    factory = cast("collections.defaultdict[object, object]", mapping).default_factory
    name = getattr(factory, "__name__", None)
    if factory is None or _FACTORIES.get(str(name)) is factory:
        return name
    raise Misfit(f"must be a defaultdict of {', '.join(_FACTORIES)}; other factories do not travel", mapping)


def _packed_object(value: object, names: Names, depth: int) -> object:
    name = names[type(value)]
    if isinstance(value, Flag):
        return {"$flag": [name, value.value]}
    if isinstance(value, Enum):
        return {"$enum": [name, value.name]}
    if is_model(type(value)):
        return {"$model": [name, msgspec.Raw(encode(value))]}
    fields = {
        field: _packed_under(Misfit.in_field, field, part, names, depth)
        for field, part in _fields(value, field_names(type(value)) or [])
    }
    return {"$object": [name, fields]}


def _packed_under(step: _Step, key: object, item: object, names: Names, depth: int) -> object:
    try:
        return _packed(item, names, depth + 1)
    except Misfit as misfit:
        raise step(misfit, key) from None


def _unpacked(stored: object, kinds: dict[str, Class]) -> object:
    if isinstance(stored, list):
        items = cast("list[object]", stored)
        is_plain = {list, dict}.isdisjoint(map(type, items))
        return items if is_plain else [_unpacked(item, kinds) for item in items]
    if not isinstance(stored, dict):
        return stored
    fields = cast("dict[str, object]", stored)
    tag = next(iter(fields), "")
    if not tag.startswith("$"):
        return {key: _unpacked(item, kinds) for key, item in fields.items()}
    if tag in _OBJECTS:
        name, content = cast("tuple[str, object]", fields[tag])
        if name not in kinds:
            raise ValueError(f"a {name} is stored, which is none of {', '.join(kinds) or 'the basic types'}")
        return _OBJECTS[tag](kinds[name], content if tag == "$model" else _unpacked(content, kinds))
    if tag not in _BY_TAG:
        raise ValueError(f"a stored value is marked {tag!r}, which this version of Posthorse does not know")
    return _BY_TAG[tag](_unpacked(fields[tag], kinds))


def _built(kind: Any, fields: dict[str, object]) -> object:  # noqa: ANN401 - any class
    """An instance with these fields; those that its constructor does not take are set afterwards."""
    all_fields = dataclasses.fields(kind) if hasattr(kind, "__dataclass_fields__") else ()
    later = {field.name for field in all_fields if not field.init}
    instance: object = kind(**{name: value for name, value in fields.items() if name not in later})
    for name in later & fields.keys():
        object.__setattr__(instance, name, fields[name])
    return instance


# ---- msgspec and its hooks


class Carried(type):
    """A class of this kind stands in a type for "call `restore` with what is stored here"."""

    restore: Callable[[object], object]

    def __instancecheck__(cls, instance: object) -> bool:
        # msgspec asks whether the outcome of the hook is an instance; whatever `restore` returns, is.
        return True


def carried_by(restore: Callable[[object], object]) -> Carried:
    return Carried("Carried", (), {"restore": staticmethod(restore)})


def restored(kind: type, stored: object) -> object:
    """The hook of decoders: what msgspec does not build itself."""
    if isinstance(kind, Carried):
        return kind.restore(stored)
    if is_model(kind):
        # By name, because an alias for writing need not be one for reading.
        model = cast("_ModelClass", kind)
        return model.model_validate_json(msgspec.json.encode(stored), by_alias=False, by_name=True)
    if kind is object:
        return stored
    raise TypeError(f"{said(kind)} cannot be built from JSON")


def _encodable(value: object) -> object:
    """The hook of encoders: pydantic models, and subclasses of what msgspec writes."""
    if is_model(type(value)):
        model = cast("Model", value)
        return msgspec.Raw(model.model_dump_json(by_alias=False, round_trip=True, warnings="error"))
    for base in type(value).__mro__:
        if base in _PLAINER:
            return _PLAINER[base](value)
    raise TypeError(f"{said(type(value))} has no form in JSON")


_PLAINER: dict[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
    Decimal: Decimal,
    datetime: lambda value: datetime.fromisoformat(datetime.isoformat(value)),
    date: lambda value: date(value.year, value.month, value.day),
    time: lambda value: time.fromisoformat(time.isoformat(value)),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    collections.deque: list,
}

encode = msgspec.json.Encoder(enc_hook=_encodable).encode
"""A checked value as the bytes of its JSON."""

_encode_in_order = msgspec.json.Encoder(enc_hook=_encodable, order="deterministic").encode


def encode_with_sets(value: object) -> bytes:
    """The same, with sets and dicts sorted, so that equal sets give equal text in every process.

    Sets whose items cannot be compared are left as they are.
    """
    try:
        return _encode_in_order(value)
    except TypeError:
        return encode(value)


class Model(Protocol):
    """What is used of a pydantic model; pydantic need not be installed."""

    def model_dump_json(self, *, by_alias: bool, round_trip: bool, warnings: str) -> str: ...
    def __iter__(self) -> Iterator[tuple[str, object]]: ...


class _ModelClass(Protocol):
    def model_validate_json(self, text: bytes, *, by_alias: bool, by_name: bool) -> Model: ...


def is_model(kind: object) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def field_names(kind: Any) -> list[str] | None:  # noqa: ANN401 - any class
    """The fields of a dataclass, Struct, NamedTuple or attrs class; None for every other class."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if names := getattr(kind, "_fields", None):
        return list(names)
    if attributes := getattr(kind, "__attrs_attrs__", None):
        return [attribute.name for attribute in attributes]
    return None


def _fields(value: object, names: list[str]) -> Iterable[tuple[str, object]]:
    """Those that are set: a Struct marks optional ones as UNSET, a class with slots may lack some."""
    present = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return ((name, content) for name, content in present if content is not msgspec.UNSET)


# ---- Checks of single values: nothing is coerced


def check_json(value: object, depth: int = 0) -> None:
    """What JSON has by itself: None, bool, int, float, str, list, tuple (comes back as list), dict."""
    if (check := _JSON_SCALARS.get(type(value))) is not None:
        check(value)
    elif depth == MAX_DEPTH:
        raise Misfit(TOO_DEEP, value)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(cast("Iterable[object]", value)):
            try:
                check_json(item, depth + 1)
            except Misfit as misfit:
                raise misfit.in_item(place) from None
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            check_json_key(key)
            try:
                check_json(item, depth + 1)
            except Misfit as misfit:
                raise misfit.in_item(key) from None
    elif base := next((kind for kind in (str, int, float) if isinstance(value, kind)), None):
        SCALAR_CHECKS[base](value)
    else:
        raise Misfit("is no plain JSON; other types travel where the annotation says them", value)


def check_json_key(key: object) -> None:
    """Keys of dicts whose annotation says nothing of them."""
    if not isinstance(key, str):
        raise Misfit(f"has a key that is not str; annotate the dict, such as dict[{said(type(key))}, object]", key)
    check_str(key)


def check_str(value: object) -> None:
    if not isinstance(value, str):
        raise NotOfType("str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit("must be text without lone surrogates, which UTF-8 cannot carry", value) from None


def check_int(value: object) -> None:
    if type(value) is not int and (not isinstance(value, int) or isinstance(value, bool)):
        raise NotOfType("int", value)
    if not _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
        raise Misfit("must fit 64 bits; send larger integers as str or Decimal", value)


def _fits_64_bits(value: int) -> bool:
    return _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER


def check_float(value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misfit("must be finite, because JSON has neither NaN nor Infinity", value)
    elif not isinstance(value, int) or isinstance(value, bool):
        raise NotOfType("float", value)
    elif not _fits_64_bits(value) or float(value) != value:
        raise NotOfType("float, or an int that a float holds exactly", value)


def _check_datetime(value: object) -> None:
    if not isinstance(value, datetime):
        raise NotOfType("datetime", value)
    _check_offset(value)


def _check_time(value: object) -> None:
    if not isinstance(value, time):
        raise NotOfType("time", value)
    _check_offset(value)


def _check_offset(value: datetime | time) -> None:
    offset = value.utcoffset()
    if offset and offset % timedelta(minutes=1):
        raise Misfit("must have a UTC offset of whole minutes; use .astimezone(UTC)", value)


def _check_date(value: object) -> None:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise NotOfType("date", value)


def _check_decimal(value: object) -> None:
    if not isinstance(value, Decimal):
        raise NotOfType("Decimal", value)
    if not value.is_finite():
        raise Misfit("must be finite", value)


def instance_check(kind: type, expected: str) -> Callable[[object], None]:
    """The check that asks nothing but `isinstance`."""

    def check(value: object) -> None:
        if not isinstance(value, kind):
            raise NotOfType(expected, value)

    return check


SCALAR_CHECKS: dict[object, Callable[[object], None]] = {
    str: check_str,
    int: check_int,
    float: check_float,
    datetime: _check_datetime,
    date: _check_date,
    time: _check_time,
    Decimal: _check_decimal,
    bool: instance_check(bool, "bool"),
    types.NoneType: instance_check(types.NoneType, "None"),
    timedelta: instance_check(timedelta, "timedelta"),
    UUID: instance_check(UUID, "UUID"),
    bytes: instance_check(bytes, "bytes"),
    bytearray: instance_check(bytearray, "bytearray"),
    msgspec.UnsetType: instance_check(msgspec.UnsetType, "UNSET"),
}

_JSON_SCALARS: dict[object, Callable[[object], None]] = {
    kind: SCALAR_CHECKS[kind] for kind in (str, int, float, bool, types.NoneType)
}


# ---- Words for errors


def said(annotation: object) -> str:
    """An annotation as people write it, without modules: `list[Order]`, `str | None`."""
    if annotation is types.NoneType:
        return "None"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"[\w.<>]+\.(\w+)", r"\1", repr(annotation))


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3


def short(value: object) -> str:
    """A `repr` for messages: brief, and never an error itself."""
    try:
        text = _SHORT.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:99]}…"
