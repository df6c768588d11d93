"""Which of the user's classes have fields, and how to read them: dataclasses, Structs, attrs, pydantic models.

This module knows nothing of JSON, and imports none of these libraries but msgspec.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

Class = type[object]


class Model(Protocol):
    """The part of a pydantic model that is used here; pydantic need not be installed."""

    def model_dump_json(self, *, by_alias: bool, round_trip: bool, warnings: str) -> str: ...
    def __iter__(self) -> Iterator[tuple[str, object]]: ...


class ModelClass(Protocol):
    def model_validate_json(self, text: bytes, *, by_alias: bool, by_name: bool) -> Model: ...


def is_model(kind: object) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def field_names(kind: Any) -> list[str] | None:  # noqa: ANN401 - any class
    """Return the fields of a dataclass, Struct, NamedTuple or attrs class; None for every other class."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if names := getattr(kind, "_fields", None):
        return list(names)
    if attributes := getattr(kind, "__attrs_attrs__", None):
        return [attribute.name for attribute in attributes]
    return None


def fields_of(value: object, names: list[str]) -> Iterable[tuple[str, object]]:
    """Yield the fields that are set: optional ones of a Struct may be UNSET, slots may be empty."""
    present = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return ((name, content) for name, content in present if content is not msgspec.UNSET)
