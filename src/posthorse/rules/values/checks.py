"""Check which single values can be stored: by type, without coercion.

This module knows nothing of annotations and the user's classes, and writes nothing.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import cast
from uuid import UUID

import msgspec

from posthorse.rules.values.type_mismatch import NotOfType, TypeMismatch, type_name

MAX_DEPTH = 200
"""Maximum nesting that is stored. Deeper values have a cycle, or break readers of JSON."""

TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep, or contains itself"


def check_json(value: object, depth: int = 0) -> None:
    """Check for what JSON has: None, bool, int, float, str, list, tuple (comes back as list), dict."""
    if (check := _JSON_SCALARS.get(type(value))) is not None:
        check(value)
    elif depth == MAX_DEPTH:
        raise TypeMismatch(TOO_DEEP, value)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(cast("Iterable[object]", value)):
            try:
                check_json(item, depth + 1)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(place) from None
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            check_json_key(key)
            try:
                check_json(item, depth + 1)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(key) from None
    elif base := next((kind for kind in (str, int, float) if isinstance(value, kind)), None):
        SCALAR_CHECKS[base](value)
    else:
        raise TypeMismatch("is not plain JSON; other types can be stored if the annotation names them", value)


def check_json_key(key: object) -> None:
    """Check keys of dicts whose annotation does not describe them."""
    if not isinstance(key, str):
        raise TypeMismatch(
            f"has a key that is not str; annotate the dict, such as dict[{type_name(type(key))}, object]", key
        )
    _check_str(key)


def instance_check(kind: type, expected: str) -> Callable[[object], None]:
    """Make a check by `isinstance`."""

    def check(value: object) -> None:
        if not isinstance(value, kind):
            raise NotOfType(expected, value)

    return check


def fits_64_bits(value: int) -> bool:
    return _SMALLEST_INTEGER <= value <= _MAX_INTEGER


_SMALLEST_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1


def _check_str(value: object) -> None:
    if not isinstance(value, str):
        raise NotOfType("str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise TypeMismatch("must be text without lone surrogates, which UTF-8 cannot carry", value) from None


def _check_int(value: object) -> None:
    if type(value) is not int and (not isinstance(value, int) or isinstance(value, bool)):
        raise NotOfType("int", value)
    if not _SMALLEST_INTEGER <= value <= _MAX_INTEGER:
        raise TypeMismatch("must fit 64 bits; send larger integers as str or Decimal", value)


def _check_float(value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeMismatch("must be finite, because JSON has neither NaN nor Infinity", value)
    elif not isinstance(value, int) or isinstance(value, bool):
        raise NotOfType("float", value)
    elif not fits_64_bits(value) or float(value) != value:
        raise NotOfType("float, or an int that a float holds exactly", value)


def _check_datetime(value: object) -> None:
    if not isinstance(value, datetime):
        raise NotOfType("datetime", value)
    _check_offset(value)


def _check_time(value: object) -> None:
    if not isinstance(value, time):
        raise NotOfType("time", value)
    if value.tzinfo is not None and value.utcoffset() is None:
        raise TypeMismatch(
            "has a zone whose offset from UTC depends on the date; pass a datetime, or the time without its zone and "
            "the zone's name beside it",
            value,
        )
    _check_offset(value)


def _check_offset(value: datetime | time) -> None:
    offset = value.utcoffset()
    if offset and offset % timedelta(minutes=1):
        raise TypeMismatch("must have a UTC offset of whole minutes; use .astimezone(UTC)", value)


def _check_date(value: object) -> None:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise NotOfType("date", value)


def _check_decimal(value: object) -> None:
    if not isinstance(value, Decimal):
        raise NotOfType("Decimal", value)
    if not value.is_finite():
        raise TypeMismatch("must be finite", value)


SCALAR_CHECKS: dict[object, Callable[[object], None]] = {
    str: _check_str,
    int: _check_int,
    float: _check_float,
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
