"""Results of jobs as JSON text: written by value, regardless of the annotation, and read as the annotation says.

This module knows nothing of functions, jobs or stores.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Any, cast

import msgspec

from posthorse.rules.values.checks import MAX_DEPTH, SCALAR_CHECKS, TOO_DEEP
from posthorse.rules.values.classes import Model, field_names, fields_of, is_model
from posthorse.rules.values.msgspec_json import encode, restored, too_large
from posthorse.rules.values.type_mismatch import PathStep, TypeMismatch


def encode_result(value: object, *, limit: int) -> str:
    """Encode the result as JSON text of at most `limit` bytes.

    Raises ValueError, which names the place, for a value without a JSON form, and TooLarge.
    """
    try:
        _check_by_value(value, 0)
        encoded = encode(value)
    except TypeMismatch as mismatch:
        raise ValueError(f"the result cannot be stored: {mismatch.message('result')}") from None
    except RecursionError:
        raise ValueError(f"the result cannot be stored: it {TOO_DEEP}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"the result cannot be stored: {error}") from error
    if len(encoded) > limit:
        raise too_large(len(encoded), limit, "the result")
    return encoded.decode()


def decode_result(text: str, type: object) -> object:
    """Decode the result as `type` describes it, or as plain JSON if it does not fit, because results are unchecked."""
    try:
        return _decoder_of(type).decode(text)
    except (TypeError, ValueError, NameError, AttributeError):
        return _decoder_of(Any).decode(text)


@lru_cache(maxsize=1024)
def _decoder_of(annotation: object) -> msgspec.json.Decoder[object]:
    return msgspec.json.Decoder(cast("type[Any]", annotation), dec_hook=restored)


def _check_by_value(value: object, depth: int) -> None:
    """Refuse what msgspec would change silently: NaN becomes null, and the keys 1 and "1" become the same."""
    for base in type(value).__mro__:
        if base in SCALAR_CHECKS:
            return SCALAR_CHECKS[base](value)
    if isinstance(value, Enum):
        return _check_by_value(value.value, depth)
    if depth == MAX_DEPTH:
        raise TypeMismatch(TOO_DEEP, value)
    step, parts = _parts(value)
    for key, part in parts:
        try:
            _check_by_value(part, depth + 1)
        except TypeMismatch as mismatch:
            raise step(mismatch, key) from None
    return None


def _parts(value: object) -> tuple[PathStep, Iterable[tuple[object, object]]]:
    if isinstance(value, dict):
        mapping = cast("dict[object, object]", value)
        _check_keys(mapping)
        return TypeMismatch.in_item, mapping.items()
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return TypeMismatch.in_item, enumerate(cast("Iterable[object]", value))
    if is_model(type(value)):
        return TypeMismatch.in_field, cast("Model", value)
    names = field_names(type(value))
    if names is None:
        raise TypeMismatch("is of a type that has no form in JSON: return plain data, or the key to it", value)
    return TypeMismatch.in_field, fields_of(value, names)


def _check_keys(mapping: dict[object, object]) -> None:
    if all(type(key) is str and key.isascii() for key in mapping):
        return
    for key in mapping:
        try:
            _check_by_value(key, 0)
        except TypeMismatch as mismatch:
            raise mismatch.in_key(key) from None
    try:
        written = msgspec.json.decode(encode(dict.fromkeys(mapping)), type=dict[str, None])
    except (TypeError, ValueError):
        raise TypeMismatch("has keys that have no form in JSON", mapping) from None
    if len(written) != len(mapping):
        raise TypeMismatch("has different keys that are the same in JSON", mapping)
