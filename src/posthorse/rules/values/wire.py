"""The JSON that msgspec writes and reads, with hooks for what it does not know by itself.

Checks nothing: whoever encodes has checked, whoever decodes names the type.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec

from posthorse.errors import TooLarge
from posthorse.rules.values.classes import Model, ModelClass, is_model
from posthorse.rules.values.misfit import said


def carried_by(restore: Callable[[object], object]) -> Carried:
    return Carried("Carried", (), {"restore": staticmethod(restore)})


def restored(kind: type, stored: object) -> object:
    """The hook of decoders: what msgspec does not build itself."""
    if isinstance(kind, Carried):
        return kind.restore(stored)
    if is_model(kind):
        # By name, because an alias for writing need not be one for reading.
        model = cast("ModelClass", kind)
        return model.model_validate_json(msgspec.json.encode(stored), by_alias=False, by_name=True)
    if kind is object:
        return stored
    raise TypeError(f"{said(kind)} cannot be built from JSON")


class Carried(type):
    """A class of this kind stands in a type for "call `restore` with what is stored here"."""

    restore: Callable[[object], object]

    def __instancecheck__(cls, instance: object) -> bool:
        # msgspec asks whether the outcome of the hook is an instance; whatever `restore` returns, is.
        return True


def _encodable(value: object) -> object:
    """The hook of encoders: pydantic models, and subclasses of what msgspec writes."""
    if is_model(type(value)):
        model = cast("Model", value)
        return msgspec.Raw(model.model_dump_json(by_alias=False, round_trip=True, warnings="error"))
    for base in type(value).__mro__:
        if base in PLAINER:
            return PLAINER[base](value)
    raise TypeError(f"{said(type(value))} has no form in JSON")


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
"""A checked value as the bytes of its JSON."""


def encode_with_sets(value: object) -> bytes:
    """The same, with sets and dicts sorted, so that equal sets give equal text in every process.

    Sets whose items cannot be compared are left as they are.
    """
    try:
        return _encode_in_order(value)
    except TypeError:
        return encode(value)


_encode_in_order = msgspec.json.Encoder(enc_hook=_encodable, order="deterministic").encode


def too_large(size: int, limit: int, what: str) -> TooLarge:
    """The error for text of that many bytes."""
    return TooLarge(
        f"{what} would take {size:,} bytes as JSON and the limit is {limit:,}; "
        f"keep the bulk in a table or a file and pass its key or path, or raise the limit"
    )
