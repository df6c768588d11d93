"""JSON and words as values of one type, with every digit: a Decimal never passes through a float on its way.

Values are checked against their parameters when jobs are enqueued.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, cast

import msgspec

from posthorse.errors import InvalidArgument
from posthorse.rules.values.classes import field_names, is_model
from posthorse.rules.values.msgspec_json import restored
from posthorse.rules.values.type_mismatch import short

_OPEN: tuple[object, ...] = (Any, object, list, dict, tuple, set, frozenset)
"""Types that do not determine the type of numbers in them."""

_NOTHING = object()


class Typed:
    """One type, and how JSON and words become values of it."""

    def __init__(self, wanted: object) -> None:
        self._is_open = wanted is Any or wanted is object
        # msgspec refuses most unions of types that look alike in JSON; then the first member that fits counts.
        self._kinds = [wanted, *(typing.get_args(wanted) if typing.get_origin(wanted) in (Union, UnionType) else ())]
        self._decoders = [_decoder(kind) for kind in self._kinds]

    def from_word(self, word: str) -> object:
        """Return the value of a word: of its JSON if that fits, else of its text; if neither fits, the word itself.

        Raises InvalidArgument as `from_json`.
        """
        text = word.encode()
        try:
            given = parsed(text)
        except InvalidArgument as error:
            if self._is_open and isinstance(error.__cause__, msgspec.ValidationError):
                raise InvalidArgument(f"{short(word)} is JSON with a number beyond those of Python; quote it") from None
            given = _NOTHING
        if (
            given is not _NOTHING
            and (value := self._first(lambda decode: decode(text), self._decoders)) is not _NOTHING
        ):
            refuse_duplicates(text)
            return value
        value = self._first(lambda kind: _from_text(word, kind), self._kinds)
        return value if value is not _NOTHING else word if given is _NOTHING else given

    def from_json(self, text: bytes) -> object:
        """Return the value of JSON; if the type does not fit, the plain value, which is refused later.

        Raises InvalidArgument for invalid JSON, or a duplicate key.
        """
        given = parsed(text)
        refuse_duplicates(text)
        value = self._first(lambda decode: decode(text), self._decoders)
        return given if value is _NOTHING else value

    def _first(self, make: Callable[[Any], object], choices: list[Any]) -> object:
        for choice in choices:
            try:
                return make(choice)
            except (TypeError, ValueError, RecursionError):  # TypeError: a type that msgspec does not know
                continue
        return _NOTHING


def parsed(text: bytes) -> object:
    """Return the value of JSON for an unknown type. Raises InvalidArgument."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from error


def _decoder(kind: object) -> Callable[[bytes], object]:
    wanted = cast("type[Any]", kind)
    try:
        if _has_models_alone(kind):
            return msgspec.json.Decoder(wanted, dec_hook=_restored, float_hook=Decimal).decode
        return msgspec.json.Decoder(wanted, dec_hook=restored).decode
    except (TypeError, ValueError, RecursionError):
        return _refuse


def _refuse(text: bytes) -> object:
    raise TypeError("msgspec does not know the type")


def _from_text(word: str, kind: object) -> object:
    return msgspec.convert(word, cast("type[Any]", kind), dec_hook=restored)


def _restored(kind: type, stored: object) -> object:
    """Build pydantic models as `restored` does, from numbers that kept their digits: pydantic's own parser makes
    floats.
    """
    return restored(kind, _with_digits([kind], stored) if is_model(kind) else stored)


def _with_digits(kinds: Sequence[object], stored: object) -> object:
    """Return the value with numbers as texts if one of the types is a Decimal, and as floats elsewhere."""
    choices = [choice for kind in kinds for choice in _choices(kind)]
    if isinstance(stored, Decimal):
        return str(stored) if Decimal in choices and float not in choices else float(stored)
    if isinstance(stored, list):
        items = [part for choice in choices for part in typing.get_args(choice)]
        return [_with_digits(items, item) for item in cast("list[object]", stored)]
    if isinstance(stored, dict):
        fields = {name: [kind] for choice in choices if is_model(choice) for name, kind in _fields(choice)}
        values = [part for choice in choices for part in typing.get_args(choice)[1:]]
        named = cast("dict[str, object]", stored)
        return {name: _with_digits(fields.get(name, values), value) for name, value in named.items()}
    return stored


def _choices(kind: object) -> Iterator[object]:
    """Yield the members of a union, without their metadata."""
    if typing.get_origin(kind) is Annotated:
        yield from _choices(typing.get_args(kind)[0])
    elif typing.get_origin(kind) in (Union, UnionType):
        for member in typing.get_args(kind):
            yield from _choices(member)
    else:
        yield kind


def _fields(model: object) -> Iterator[tuple[str, object]]:
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    for name, field in fields.items():
        yield name, field.annotation


def _has_models_alone(kind: object) -> bool:
    """Return whether a type has pydantic models, and no other place that accepts any number."""
    parts = list(_parts(kind, set()))
    return any(map(is_model, parts)) and not any(part in _OPEN for part in parts)


def _parts(kind: object, seen: set[int]) -> Iterator[object]:
    if id(kind) in seen:
        return
    seen.add(id(kind))
    yield kind
    inner = list(typing.get_args(kind))
    if isinstance(kind, type) and not is_model(kind) and field_names(kind):
        try:
            inner += typing.get_type_hints(kind).values()
        except Exception:  # names for type checkers only: they may mean anything
            inner.append(Any)
    for part in inner:
        yield from _parts(part, seen)


def refuse_duplicates(text: bytes) -> None:
    """Raise InvalidArgument if an object has a key twice, because one of the two values would be lost."""
    if b"{" in text:
        try:
            json.loads(text, object_pairs_hook=_object, parse_float=str, parse_int=str)
        except (RecursionError, json.JSONDecodeError):
            return  # too deep or too strange for one parser; the other one accepted it


def _object(pairs: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise InvalidArgument(f"the JSON has {short(name)} twice in one object; leave one of them")
        names.add(name)
