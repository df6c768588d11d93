"""What annotations mean: names looked up, type parameters filled in, aliases followed.

Knows nothing of values, nor of how they travel.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin


def resolved(annotation: object, defined_in: Callable[..., object]) -> object:
    """The annotation with its names looked up where the function was defined; each on its own."""
    function: Any = inspect.unwrap(defined_in)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if not hasattr(function, "__globals__"):  # an object that can be called
        function = type(function).__call__
    enclosing: dict[str, object] = {}
    if code := getattr(function, "__code__", None):
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a name that is not assigned yet
                enclosing[name] = cell.cell_contents
    namespace = getattr(function, "__globals__", {})
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    return typing.get_type_hints(holder, namespace, enclosing, include_extras=True)["it"]


def annotations_of_fields(annotation: object) -> dict[str, object]:
    """The annotations of a class's fields, with what its type parameters stand for."""
    hints = typing.get_type_hints(get_origin(annotation) or annotation, include_extras=True)
    meaning = _type_parameters(annotation)
    return {name: _with_parameters(hint, meaning) for name, hint in hints.items()}


def is_required_key(kind: Any, name: str, annotation: object) -> bool:  # noqa: ANN401 - a TypedDict has no type
    # A class whose annotations are strings has not seen its own Required and NotRequired.
    if (origin := get_origin(annotation)) in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in kind.__required_keys__


def meaning_of_alias(annotation: Any) -> object:  # noqa: ANN401 - TypeAliasType is newer than Python 3.11
    inner = get_args(annotation)
    return annotation.__value__[inner] if inner else annotation.__value__


def _type_parameters(annotation: object) -> dict[object, object]:
    kind = get_origin(annotation) or annotation
    meaning: dict[object, object] = dict(zip(getattr(kind, "__parameters__", ()), get_args(annotation), strict=False))
    for base in getattr(kind, "__orig_bases__", ()):
        if get_origin(base) not in (Generic, Protocol, None):
            meaning |= _type_parameters(_with_parameters(base, meaning))
    return meaning


def _with_parameters(annotation: Any, meaning: Mapping[object, object]) -> object:  # noqa: ANN401 - subscripted
    if isinstance(annotation, TypeVar):
        return meaning.get(annotation, annotation)
    if get_args(annotation) and (parameters := getattr(annotation, "__parameters__", ())):
        return annotation[tuple(meaning.get(each, each) for each in parameters)]
    return annotation
