"""Values in a form that says what each part is, so that they come back the same without an annotation.

This module owns the tags, such as `{"$set":[1,2]}`. It knows nothing of functions, jobs or stores, and builds only the
basic types and the classes passed in: a stored text never chooses a class.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, cast
from uuid import UUID

import msgspec

from posthorse.rules.values.checks import MAX_DEPTH, SCALAR_CHECKS, TOO_DEEP, fits_64_bits
from posthorse.rules.values.classes import Class, field_names, fields_of, is_model
from posthorse.rules.values.msgspec_json import PLAINER, encode, restored
from posthorse.rules.values.type_mismatch import PathStep, TypeMismatch, type_name


def encode_kept(value: object) -> str:
    """Encode a kept value as JSON text that says what each part is, so that it comes back the same.

    Accepts what JSON has, integers and floats of any size, and tuple, set, frozenset, deque, dict with any keys,
    Counter, OrderedDict, defaultdict (of int, float, str, list, dict or set), datetime, date, time, timedelta, UUID,
    Decimal, bytes. Raises ValueError, which names the place, for everything else.
    """
    try:
        return msgspec.json.encode(pack(value)).decode()
    except TypeMismatch as mismatch:
        raise ValueError(f"the value cannot be kept: {mismatch.message('value')}") from None
    except RecursionError:
        raise ValueError(f"the value cannot be kept: it {TOO_DEEP}") from None
    except UnicodeEncodeError:
        raise ValueError("the value cannot be kept: it holds text with a lone surrogate") from None


def decode_kept(text: str) -> object:
    """Return the value that was encoded: equal to it, and of the same types."""
    stored: object = msgspec.json.decode(text)
    return unpack(stored) if '{"$' in text else stored


ClassNames = dict[Class, str]
"""The user's classes that a value may contain, with their names in the stored form."""


def pack(value: object, names: ClassNames | None = None) -> object:
    """Convert the value to parts that JSON has, and tag each other part: `{"$set":[1,2]}`, `{"$uuid":"…"}`.

    Depends on the exact type, because a subclass would come back as its base. Subclasses of text, numbers and dates are
    accepted, as the equal plain value.
    """
    return _packed(value, names or {}, 0)


def unpack(stored: object, names: ClassNames | None = None) -> object:
    """Rebuild what was packed; build only basic classes and those in `names`."""
    return _unpacked(stored, {name: kind for kind, name in (names or {}).items()})


def _packed(value: object, names: ClassNames, depth: int) -> object:
    kind = type(value)
    if _is_plain_scalar(value):
        return value
    if kind in _SCALARS:
        if kind is time:
            SCALAR_CHECKS[time](value)  # a zone whose offset depends on the date would be lost
        tag, written, _ = _SCALARS[kind]
        return {tag: written(value)}
    if depth == MAX_DEPTH:
        raise TypeMismatch(TOO_DEEP, value)
    if kind is list:
        return _packed_items(cast("list[object]", value), names, depth)
    if kind in _SETS:
        return {_SETS[kind][0]: _packed_set(cast("set[Any]", value), names, depth)}
    if kind in _ITEMS:
        tag, listed, _ = _ITEMS[kind]
        return {tag: _packed_items(cast("list[object]", listed(value)), names, depth)}
    if isinstance(value, dict):
        return _packed_dict(cast("dict[object, object]", value), names, depth)
    if kind in names:
        return _packed_object(value, names, depth)
    for base in kind.__mro__:
        if base in PLAINER:
            return _packed(PLAINER[base](value), names, depth)
    raise TypeMismatch("is of a type that has no form in JSON: use plain data, such as its key or its fields", value)


def _is_plain_scalar(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return fits_64_bits(cast("int", value))
    if kind is float:
        return math.isfinite(cast("float", value))
    return value is None or kind is str or kind is bool


def _packed_items(items: list[object], names: ClassNames, depth: int) -> list[object]:
    # A set of a hundred thousand ids is written at every slice, so a set of plain values is not walked.
    kinds = set(map(type, items))
    if kinds == {str}:
        return items
    if kinds == {int}:
        integers = cast("list[int]", items)
        if fits_64_bits(min(integers)) and fits_64_bits(max(integers)):
            return items
    return [_packed_under(TypeMismatch.in_item, place, item, names, depth) for place, item in enumerate(items)]


def _packed_set(items: set[Any], names: ClassNames, depth: int) -> list[object]:
    """Sort, so that equal sets give equal text in every process."""
    if set(map(type, items)) in ({str}, {int}):
        return _packed_items(sorted(items), names, depth)
    return sorted(_packed_items(list(items), names, depth), key=encode)


def _packed_dict(mapping: dict[object, object], names: ClassNames, depth: int) -> object:
    kind = type(mapping)
    if kind is dict and all(type(key) is str and not key.startswith("$") for key in mapping):
        return {key: _packed_under(TypeMismatch.in_item, key, item, names, depth) for key, item in mapping.items()}
    if kind not in _PAIRS and kind is not collections.defaultdict:
        raise TypeMismatch(f"must be a plain dict; a {type_name(kind)} would come back as another type", mapping)
    pairs = [
        [
            _packed_under(TypeMismatch.in_key, key, key, names, depth),
            _packed_under(TypeMismatch.in_item, key, item, names, depth),
        ]
        for key, item in mapping.items()
    ]
    return {_PAIRS[kind][0]: pairs} if kind in _PAIRS else {"$defaultdict": [_factory_of(mapping), pairs]}


def _factory_of(mapping: object) -> str | None:
    factory = cast("collections.defaultdict[object, object]", mapping).default_factory
    name = getattr(factory, "__name__", None)
    if factory is None or _FACTORIES.get(str(name)) is factory:
        return name
    raise TypeMismatch(f"must be a defaultdict of {', '.join(_FACTORIES)}; other factories do not travel", mapping)


def _packed_object(value: object, names: ClassNames, depth: int) -> object:
    name = names[type(value)]
    if isinstance(value, Flag):
        return {"$flag": [name, value.value]}
    if isinstance(value, Enum):
        return {"$enum": [name, value.name]}
    if is_model(type(value)):
        return {"$model": [name, msgspec.Raw(encode(value))]}
    fields = {
        field: _packed_under(TypeMismatch.in_field, field, part, names, depth)
        for field, part in fields_of(value, field_names(type(value)) or [])
    }
    return {"$object": [name, fields]}


def _packed_under(step: PathStep, key: object, item: object, names: ClassNames, depth: int) -> object:
    try:
        return _packed(item, names, depth + 1)
    except TypeMismatch as mismatch:
        raise step(mismatch, key) from None


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
    """Build an instance with these fields; set those that its constructor does not take afterwards."""
    all_fields = dataclasses.fields(kind) if hasattr(kind, "__dataclass_fields__") else ()
    later = {field.name for field in all_fields if not field.init}
    instance: object = kind(**{name: value for name, value in fields.items() if name not in later})
    for name in later & fields.keys():
        object.__setattr__(instance, name, fields[name])
    return instance


_Forms = tuple[str, Callable[[Any], object], Callable[[Any], object]]
"""The tag of a type, how to write it, and how to read it."""

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
    # Beyond what JSON has. Hexadecimal, because Python refuses to read long decimal texts.
    int: ("$int", hex, lambda text: int(text, 16)),
    float: ("$float", repr, float),
}

_ITEMS: dict[type, _Forms] = {
    tuple: ("$tuple", list, tuple),
    collections.deque: (
        "$deque",
        lambda items: [*items, items.maxlen],
        lambda stored: collections.deque(stored[:-1], stored[-1]),
    ),
}

_SETS: dict[type, _Forms] = {
    set: ("$set", list, set),
    frozenset: ("$frozenset", list, frozenset),
}

_PAIRS: dict[type, _Forms] = {
    dict: ("$dict", list, dict),
    collections.OrderedDict: ("$ordereddict", list, collections.OrderedDict),
    collections.Counter: ("$counter", list, lambda pairs: collections.Counter(dict(pairs))),
}

_FACTORIES: dict[str, Class] = {kind.__name__: kind for kind in (int, float, str, list, dict, set)}

_BY_TAG: dict[str, Callable[[Any], object]] = {
    **{tag: restore for forms in (_SCALARS, _ITEMS, _SETS, _PAIRS) for tag, _, restore in forms.values()},
    "$defaultdict": lambda stored: collections.defaultdict(_FACTORIES.get(stored[0]), stored[1]),
}

_OBJECTS: dict[str, Callable[[Any, Any], object]] = {
    "$enum": lambda kind, name: kind[name],
    "$flag": lambda kind, value: kind(value),
    "$model": restored,
    "$object": _built,
}
