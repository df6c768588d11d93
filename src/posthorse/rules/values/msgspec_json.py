"""The JSON that msgspec writes and reads, with hooks for types that it does not know.

This module checks nothing: the caller has checked what it encodes, and names the type when it decodes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec

from posthorse.errors import TooLarge
from posthorse.rules.values.classes import Model, ModelClass, field_names, fields_of, is_model
from posthorse.rules.values.type_mismatch import type_name


def carried_by(restore: Callable[[object], object]) -> Carried:
    return Carried("Carried", (), {"restore": staticmethod(restore)})


def restored(kind: type, stored: object) -> object:
    """Build what msgspec cannot build itself; the hook of decoders."""
    if isinstance(kind, Carried):
        return kind.restore(stored)
    if is_model(kind):
        # By name, because an alias for writing may not work for reading.
        model = cast("ModelClass", kind)
        return model.model_validate_json(msgspec.json.encode(stored), by_alias=False, by_name=True)
    if kind is object:
        return stored
    raise TypeError(f"{type_name(kind)} cannot be built from JSON")


class Carried(type):
    """The type of classes that mean "call `restore` with the stored value"."""

    restore: Callable[[object], object]

    def __instancecheck__(cls, instance: object) -> bool:
        # msgspec checks the result of the hook with isinstance; whatever `restore` returns must pass.
        return True


def _encodable(value: object) -> object:
    """Convert pydantic models, and subclasses of what msgspec writes; the hook of encoders."""
    if is_model(type(value)):
        model = cast("Model", value)
        return msgspec.Raw(model.model_dump_json(by_alias=False, round_trip=True, warnings="error"))
    for base in type(value).__mro__:
        if base in PLAINER:
            return PLAINER[base](value)
    raise TypeError(f"{type_name(type(value))} has no form in JSON")


PLAINER: dict[type, Callable[[Any], object]] = {
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
"""Returns a checked value as JSON bytes."""


def encode_in_order(value: object) -> bytes:
    """Encode with the items of sets sorted, so that equal sets give equal text in every process."""
    return encode(_in_order(value))


def _in_order(value: object) -> object:
    """Return the value with a sorted list for each set; the same object if it has none."""
    if isinstance(value, set | frozenset):
        members = cast("set[Any]", value)
        if set(map(type, members)) in ({str}, {int}):
            return sorted(members)
        return [msgspec.Raw(text) for text in sorted(map(encode_in_order, members))]
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        after = {key: _in_order(item) for key, item in entries.items()}
        return after if _changed(entries.values(), after.values()) else entries
    if is_model(type(value)):
        return _object_in_order(value, dict(cast("Model", value)))
    if (names := field_names(type(value))) is not None:
        return _object_in_order(value, dict(fields_of(value, names)))
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        parts = [_in_order(item) for item in items]
        return parts if _changed(items, parts) else items
    return value


def _changed(before: Iterable[object], after: Iterable[object]) -> bool:
    return any(one is not other for one, other in zip(before, after, strict=True))


def _object_in_order(value: object, fields: dict[str, object]) -> object:
    changed = {name: after for name, part in fields.items() if (after := _in_order(part)) is not part}
    if not changed:
        return value
    text = encode(value)
    if text.startswith(b"["):  # a NamedTuple, or a Struct written as an array, perhaps tagged
        parts = msgspec.json.decode(text, type=list[msgspec.Raw])
        names = [*[""] * (len(parts) - len(fields)), *fields]
        return [changed.get(name, part) for name, part in zip(names, parts, strict=True)]
    written = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    keys = (
        dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
        if isinstance(value, msgspec.Struct)
        else {}
    )
    for name, after in changed.items():
        key = keys.get(name, name)
        # What a model's own serialisers write for a field stays as it is.
        if key in written and bytes(written[key]) == encode(fields[name]):
            written[key] = msgspec.Raw(encode(after))
    return written


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2.0**63 else number


plain_numbers = msgspec.json.Decoder(float_hook=_number).decode
"""Decodes JSON as plain data in which equal numbers are written alike: 1 and 1.0 as 1."""


def too_large(size: int, limit: int, what: str) -> TooLarge:
    """Make the error for a text of that many bytes."""
    return TooLarge(
        f"{what} would take {size:,} bytes as JSON and the limit is {limit:,}; "
        "keep the bulk in a table or a file and pass its key or path"
    )
