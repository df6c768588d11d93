"""Find annotations of results whose values can never be stored, so that no job of the kind could complete.

Only certain cases are reported: an abstract class may have a subclass that can be stored. This module looks at no
value.
"""

from __future__ import annotations

import collections
import inspect
import types
import typing
from collections import abc
from enum import Enum
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from posthorse.rules.arguments.annotations import annotations_of_fields, is_qualified, is_required_key, meaning_of_alias
from posthorse.rules.values.checks import SCALAR_CHECKS
from posthorse.rules.values.classes import Class, field_names, is_model
from posthorse.rules.values.type_mismatch import type_name

_STORED: tuple[Class, ...] = (
    *(cast("Class", kind) for kind in SCALAR_CHECKS),
    *(Enum, dict, list, tuple, set, frozenset, collections.deque),
)
"""Results of these classes and their subclasses have a JSON form."""

_ONE_WAY = cast("tuple[Class, ...]", (abc.Iterator, abc.AsyncIterator, abc.AsyncIterable, abc.Awaitable, abc.Callable))
"""Can only be iterated once, or called: never storable, although these classes are abstract."""


def never_stored(annotation: object) -> str | None:
    """Return the part of a result's annotation that has no JSON form, as users write it; None if some value has one."""
    try:
        found = _never(annotation, frozenset())
    except Exception:  # evaluating an annotation can run any code
        return None
    return None if found is None else type_name(found)


def _never(annotation: Any, above: frozenset[object]) -> object | None:  # noqa: ANN401 - an annotation can be any object
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is Any or origin is Literal or annotation in above:
        return None
    if origin is Annotated or is_qualified(annotation):
        return _never(inner[0], above)
    if origin in (typing.Union, types.UnionType):
        members = [_never(member, above) for member in inner if member is not types.NoneType]
        return members[0] if members and all(member is not None for member in members) else None
    if isinstance(annotation, typing.NewType):
        return _never(annotation.__supertype__, above)
    if type(origin or annotation).__name__ == "TypeAliasType":
        return _never(meaning_of_alias(annotation), above | {annotation})
    kind = origin or annotation
    return _never_of_class(cast("Class", kind), annotation, above | {annotation}) if isinstance(kind, type) else None


def _never_of_class(kind: Class, annotation: object, above: frozenset[object]) -> object | None:
    inner = [part for part in get_args(annotation) if part is not ...]
    if issubclass(kind, _ONE_WAY) and not _has_form(kind):
        return annotation
    if hasattr(kind, "__required_keys__"):
        return _first(annotations_of_fields(annotation), kind, above)
    if is_model(kind):
        return None
    if (names := field_names(kind)) is not None:
        fields = annotations_of_fields(annotation)
        return _first({name: fields[name] for name in names if name in fields}, None, above)
    if issubclass(kind, Enum):
        return None
    if _has_form(kind):
        found = (_never(part, above) for part in inner)
        return next((part for part in found if part is not None), None)
    is_open = inspect.isabstract(kind) or getattr(kind, "_is_protocol", False)
    if is_open or any(issubclass(stored, kind) for stored in _STORED) or _has_travelling_subclass(kind):
        return None
    return annotation


def _has_form(kind: Class) -> bool:
    return issubclass(kind, _STORED) or kind in (abc.Sequence, abc.Mapping, abc.Set, abc.Collection, abc.Iterable)


def _first(fields: dict[str, object], kind: Any, above: frozenset[object]) -> object | None:  # noqa: ANN401 - any class
    for name, field in fields.items():
        if kind is None or is_required_key(kind, name, field):
            found = _never(field, above)
            if found is not None:
                return found
    return None


def _has_travelling_subclass(kind: Class) -> bool:
    return any(
        _has_form(each) or is_model(each) or field_names(each) is not None or _has_travelling_subclass(each)
        for each in type.__subclasses__(kind)
    )
