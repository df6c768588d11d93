"""Derive from one annotation the check of its values, and whether plain JSON is enough to read them back.

This module knows nothing of parameters, and writes nothing.
"""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin
from uuid import UUID

import msgspec

from posthorse.rules.arguments.annotations import (
    annotations_of_fields,
    is_qualified,
    is_required_key,
    meaning_of_alias,
)
from posthorse.rules.values.checks import SCALAR_CHECKS, check_json, check_json_key, instance_check
from posthorse.rules.values.classes import Class, Model, field_names, is_model
from posthorse.rules.values.equality import clock_parts, is_same
from posthorse.rules.values.msgspec_json import encode, restored
from posthorse.rules.values.type_mismatch import NotOfType, TypeMismatch, short, type_name


class Shape(msgspec.Struct, frozen=True):
    check: Callable[[object], None]
    classes: frozenset[Class] = frozenset()
    """The user's classes that values may contain."""
    is_clear: bool = True
    """Whether the JSON that msgspec writes for a checked value can only be read as that value."""
    is_clear_as_key: bool = False
    """Whether this also holds for the text of a JSON key."""
    has_sets: bool = False


def shape_of(annotation: Any, known: _Known) -> Shape:  # noqa: ANN401 - an annotation can be any object
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is object:
        return _ANYTHING
    if annotation is None:
        return shape_of(types.NoneType, known)
    if origin is Annotated:
        return _limited(annotation, shape_of(inner[0], known))
    if is_qualified(annotation):
        return shape_of(inner[0], known)
    if origin in (Union, types.UnionType):
        return _union(inner, known)
    if origin is Literal:
        return _literal(inner)
    if isinstance(annotation, TypeVar):
        return _union(annotation.__constraints__ or (annotation.__bound__ or Any,), known)
    if isinstance(annotation, typing.TypeVarTuple):
        return shape_of(tuple[Any, ...], known)
    if isinstance(annotation, typing.NewType):
        return shape_of(annotation.__supertype__, known)
    if type(origin or annotation).__name__ == "TypeAliasType":
        return _once(annotation, known, lambda: shape_of(meaning_of_alias(annotation), known))
    if annotation is typing.LiteralString:
        return shape_of(str, known)
    if isinstance(kind := origin or annotation, type):
        return _shape_of_class(cast("Class", kind), annotation, known)
    return _refusing(annotation)


_ANYTHING = Shape(check_json)

_Known = dict[object, Shape | None]
"""Shapes of classes by annotation; None while one is being made, because classes can contain themselves."""


def _shape_of_class(kind: Class, annotation: object, known: _Known) -> Shape:
    inner = get_args(annotation)
    if kind in SCALAR_CHECKS:
        return Shape(SCALAR_CHECKS[kind], is_clear_as_key=kind not in (bool, types.NoneType))
    if get_origin(annotation) is tuple and inner[1:] != (...,):
        return _tuple(type_name(annotation), [shape_of(each, known) for each in inner])
    if kind in _COLLECTIONS:
        return _items(kind, type_name(annotation), shape_of(inner[0] if inner else Any, known))
    if kind in (dict, abc.Mapping, abc.MutableMapping):
        return _dict(*(shape_of(each, known) for each in inner or (Any, Any)))
    if issubclass(kind, Enum):
        return Shape(instance_check(kind, type_name(kind)), frozenset([kind]), is_clear_as_key=True)
    if is_model(kind):
        return Shape(_model_check(kind), frozenset([kind]), has_sets=True)  # pydantic checks its fields itself
    if hasattr(kind, "__required_keys__"):
        return _once(annotation, known, lambda: _typed_dict(kind, annotations_of_fields(annotation), known))
    if (names := field_names(kind)) is not None:
        return _once(annotation, known, lambda: _record(kind, names, annotations_of_fields(annotation), known))
    return _refusing(annotation)


_COLLECTIONS: dict[Class, tuple[Class, ...]] = {
    list: (list,),
    tuple: (tuple,),
    set: (set,),
    frozenset: (frozenset,),
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Collection: (list, tuple, set, frozenset),
    abc.Iterable: (list, tuple, set, frozenset),
}
"""Types accepted for each of these annotations; one-way iterators cannot be stored."""


def _refusing(annotation: object) -> Shape:
    def refuse(value: object) -> None:
        raise TypeMismatch(
            f"is annotated {type_name(annotation)}, which cannot travel: pass its key or its fields", value
        )

    return Shape(refuse)


def _once(annotation: object, known: _Known, make: Callable[[], Shape]) -> Shape:
    """Make the shape of a type that may contain itself: once, at its first mention; later mentions refer to it."""
    if annotation not in known:
        known[annotation] = None
        known[annotation] = make()
    return known[annotation] or Shape(lambda value: cast("Shape", known[annotation]).check(value))


def _limited(annotation: Any, shape: Shape) -> Shape:  # noqa: ANN401 - an annotation can be any object
    """Enforce limits such as `Annotated[int, msgspec.Meta(ge=1)]` when encoding and decoding; ignore other metadata."""
    if not any(isinstance(note, msgspec.Meta) for note in annotation.__metadata__):
        return shape

    def check(value: object) -> None:
        shape.check(value)
        try:
            msgspec.convert(value, annotation, builtin_types=_STAY_AS_THEY_ARE, dec_hook=restored)
        except msgspec.ValidationError as error:
            raise TypeMismatch(f"is outside its limits ({error})", value) from None

    return msgspec.structs.replace(shape, check=check)


_STAY_AS_THEY_ARE = (bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal)


def _items(kind: Class, expected: str, item: Shape) -> Shape:
    kinds, check_item = _COLLECTIONS[kind], item.check

    def check(value: object) -> None:
        if not isinstance(value, kinds):
            raise NotOfType(expected, value)
        for place, each in enumerate(cast("Iterable[object]", value)):
            try:
                check_item(each)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(place) from None

    # JSON returns a list for a tuple, and a set cannot contain a list.
    is_set = kinds[0] in (set, frozenset)
    is_clear = len(kinds) == 1 and not (is_set and item is _ANYTHING)
    return msgspec.structs.replace(_composed(check, [item], is_clear=is_clear), has_sets=is_set or item.has_sets)


def _tuple(expected: str, shapes: list[Shape]) -> Shape:
    def check(value: object) -> None:
        items = cast("tuple[object, ...]", value)
        if not isinstance(value, tuple) or len(items) != len(shapes):
            raise NotOfType(expected, items)
        for place, (shape, each) in enumerate(zip(shapes, items, strict=True)):
            try:
                shape.check(each)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(place) from None

    return _composed(check, shapes)


def _dict(key: Shape, item: Shape) -> Shape:
    if key is _ANYTHING:
        key = Shape(check_json_key, is_clear_as_key=True)

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise NotOfType("dict", value)
        for each, content in cast("dict[object, object]", value).items():
            try:
                key.check(each)
            except TypeMismatch as mismatch:
                raise mismatch.in_key(each) from None
            try:
                item.check(content)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(each) from None

    return _composed(check, [key, item], is_clear=key.is_clear_as_key)


def _union(members: tuple[object, ...], known: _Known) -> Shape:
    shapes = [shape_of(member, known) for member in members]
    if _ANYTHING in shapes or len(shapes) == 1:
        return _ANYTHING if _ANYTHING in shapes else shapes[0]
    expected = " | ".join(type_name(member) for member in members)

    def check(value: object) -> None:
        tellings: list[TypeMismatch] = []
        for shape in shapes:
            try:
                return shape.check(value)
            except TypeMismatch as mismatch:
                if mismatch.steps or not isinstance(mismatch, NotOfType):
                    tellings.append(mismatch)
        raise max(tellings, key=lambda mismatch: len(mismatch.steps)) if tellings else NotOfType(expected, value)

    return _composed(check, shapes)


def _literal(values: tuple[object, ...]) -> Shape:
    expected = " or ".join(short(value) for value in values)

    def check(value: object) -> None:
        # Compare types too, because True == 1.
        if not any(value == each and type(value) is type(each) for each in values):
            raise NotOfType(expected, value)

    enums = frozenset[Class](type(value) for value in values if isinstance(value, Enum))
    return Shape(check, enums, is_clear_as_key=all(isinstance(value, str) for value in values))


def _model_check(kind: Class) -> Callable[[object], None]:
    """Check a pydantic model; a trial finds fields that its JSON leaves out or changes."""

    def check(value: object) -> None:
        _check_exact(kind, value)
        try:
            arrived = restored(kind, msgspec.json.decode(encode(value)))
        except Exception as error:  # the user's validators and serialisers run here
            raise TypeMismatch(f"would not come back from JSON ({error})", value) from error
        for name, content in cast("Model", value):
            after = getattr(arrived, name, None)
            for part in clock_parts(content):
                if isinstance(part, time):
                    SCALAR_CHECKS[time](part)
            if not is_same(content, after):
                raise TypeMismatch(f"would come back from JSON as {short(after)}", content).in_field(name)

    return check


def _typed_dict(kind: Any, annotations: dict[str, object], known: _Known) -> Shape:  # noqa: ANN401 - any class
    shapes = {name: shape_of(annotation, known) for name, annotation in annotations.items()}
    required = [name for name, annotation in annotations.items() if is_required_key(kind, name, annotation)]

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise NotOfType(type_name(kind), value)
        given = cast("dict[str, object]", value)
        for name in required:
            if name not in given:
                raise TypeMismatch(f"is missing the key {name!r} of {type_name(kind)}", given)
        for name, content in given.items():
            if name not in shapes:
                raise TypeMismatch(f"has the key {short(name)}, which {type_name(kind)} has not", given)
            try:
                shapes[name].check(content)
            except TypeMismatch as mismatch:
                raise mismatch.in_item(name) from None

    return _composed(check, list(shapes.values()))


def _record(kind: Class, names: list[str], annotations: dict[str, object], known: _Known) -> Shape:
    """Return the shape of a dataclass, Struct, NamedTuple or attrs class."""
    shapes = [shape_of(annotations.get(name, Any), known) for name in names]
    checks = [(name, shape.check) for name, shape in zip(names, shapes, strict=True)]

    def check(value: object) -> None:
        _check_exact(kind, value)
        for name, check_field in checks:
            try:
                check_field(getattr(value, name, None))
            except TypeMismatch as mismatch:
                raise mismatch.in_field(name) from None

    shape = _composed(check, shapes)
    return msgspec.structs.replace(shape, classes=shape.classes | {kind})


def _check_exact(kind: Class, value: object) -> None:
    if not isinstance(value, kind):
        raise NotOfType(type_name(kind), value)
    if type(value) is not kind:
        raise TypeMismatch(
            f"must be exactly {type_name(kind)}, because its subclass would arrive as {type_name(kind)}", value
        )


def _composed(check: Callable[[object], None], shapes: list[Shape], *, is_clear: bool = True) -> Shape:
    return Shape(
        check,
        frozenset[Class]().union(*(shape.classes for shape in shapes)),
        is_clear and all(shape.is_clear for shape in shapes),
        has_sets=any(shape.has_sets for shape in shapes),
    )
