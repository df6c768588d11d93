"""Read annotations: look names up, fill in type parameters, follow aliases.

This module knows nothing of values, nor of how they are stored.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Generic, Protocol, TypeVar, get_args, get_origin


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """Return the signature without evaluating annotations, because type checkers alone may import what they name.

    Raises TypeError or ValueError for an object that has no signature.
    """
    if sys.version_info >= (3, 14):  # Annotations are evaluated on access.
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def attribute_of(thing: object, name: str) -> Any:  # noqa: ANN401 - as getattr
    """Return an attribute of a function or a class without evaluating annotations that only type checkers can read."""
    if name == "__annotations__" and sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(thing, format=Format.FORWARDREF)
    return getattr(thing, name)


def resolved(annotation: object, defined_in: Callable[..., object]) -> object:
    """Return the annotation with each name looked up where the function was defined."""
    function: Any = inspect.unwrap(defined_in)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if not hasattr(function, "__globals__"):  # a callable object
        function = type(function).__call__
    enclosing = _type_parameters_by_name(function)
    if code := getattr(function, "__code__", None):
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a name that is not assigned yet
                enclosing[name] = cell.cell_contents
    namespace = getattr(function, "__globals__", {})
    return _evaluated(annotation, namespace, enclosing)


def _evaluated(annotation: object, namespace: dict[str, object], local: dict[str, object]) -> object:
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    return typing.get_type_hints(holder, namespace, local, include_extras=True)["it"]


def _type_parameters_by_name(generic: object) -> dict[str, object]:
    """Return what `def function[T]` and `class Box[T]` declare: annotations may name them, no namespace has them."""
    return {parameter.__name__: parameter for parameter in getattr(generic, "__type_params__", ())}


def names_of(annotation: object) -> frozenset[str]:
    """Return the last names of the types in a union, without looking them up.

    `ph.Context | None` gives `Context` and `None`. This works for annotations that only type checkers can read.
    """
    text = (
        annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None) or str(annotation)
    )
    try:
        return frozenset(_united(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError):
        return frozenset()


def _united(written: ast.expr) -> Iterator[str]:
    match written:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.Constant(value=str(text)):
            yield from names_of(text)
        case ast.Constant(value=value):
            yield str(value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _united(left)
            yield from _united(right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if name == "Union":
                for part in parts:
                    yield from _united(part)
            elif name in ("Annotated", "Optional"):
                yield from _united(parts[0])
            else:
                yield name
        case _:
            pass


def members_of(annotation: object) -> Iterator[object]:
    """Yield the types of a union, or the one type, without Annotated and with aliases resolved."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated or is_qualified(annotation):
        yield from members_of(inner[0])
    elif origin in (typing.Union, types.UnionType):
        for member in inner:
            yield from members_of(member)
    elif type(origin or annotation).__name__ == "TypeAliasType":
        yield from members_of(meaning_of_alias(annotation))
    else:
        yield annotation


def annotations_of_fields(annotation: object) -> dict[str, object]:
    """Return the annotations of a class's fields, with type parameters replaced by their arguments."""
    kind: Any = get_origin(annotation) or annotation
    if hasattr(kind, "__required_keys__") and hasattr(kind, "__type_params__"):
        hints = _hints_of_generic(kind)
    else:
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except NameError:
            hints = _hints_of_generic(kind)
    meaning = _type_parameters(annotation)
    return {name: _with_parameters(hint, meaning) for name, hint in hints.items()}


def is_required_key(kind: Any, name: str, annotation: object) -> bool:  # noqa: ANN401 - a TypedDict has no type
    # In a class whose annotations are strings, Required and NotRequired have had no effect yet.
    while is_qualified(annotation) or get_origin(annotation) is Annotated:
        if (origin := get_origin(annotation)) in (typing.Required, typing.NotRequired):
            return origin is typing.Required
        annotation = get_args(annotation)[0]
    return name in kind.__required_keys__


def is_qualified(annotation: object) -> bool:
    """Return True for qualifiers such as `Final[int]` and `ReadOnly[int]`, which do not restrict values."""
    origin = get_origin(annotation)
    # Compare names: Python 3.11 has no ReadOnly, and the one of typing_extensions differs from that of typing.
    return origin in _QUALIFIERS or (
        getattr(origin, "_name", None) == "ReadOnly" and type(origin).__module__ in ("typing", "typing_extensions")
    )


_QUALIFIERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired, typing.Unpack)


def _hints_of_generic(kind: Any) -> dict[str, object]:  # noqa: ANN401 - any class
    """Resolve annotations that are strings and name type parameters, separately for each base.

    The bases may use the same names for different parameters. typing confuses those of a TypedDict and its bases, and
    finds none before Python 3.12.4.
    """
    is_typed_dict = hasattr(kind, "__required_keys__")
    above = getattr(kind, "__orig_bases__", ()) if is_typed_dict else kind.__bases__
    bases = [base for base in (get_origin(each) or each for each in above) if isinstance(base, type)]
    hints: dict[str, object] = {}
    inherited: dict[str, object] = {}  # a TypedDict includes the keys of its bases
    for base in reversed(bases):
        hints |= _hints_of_generic(base)
        inherited |= _own_annotations(base) if is_typed_dict else {}
    namespace = vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}
    for name, annotation in _own_annotations(kind).items():
        if name not in inherited or not _is_the_same(annotation, inherited[name]):
            hints[name] = _evaluated(annotation, namespace, {**vars(kind), **_type_parameters_by_name(kind)})
    return hints


def _own_annotations(kind: Any) -> dict[str, object]:  # noqa: ANN401 - any class
    """Return the annotations in the body of a class, and for a TypedDict also those of its bases."""
    return inspect.get_annotations(kind) if sys.version_info < (3, 14) else attribute_of(kind, "__annotations__")


def _is_the_same(annotation: object, inherited: object) -> bool:
    # Since Python 3.14 each access creates them anew, and they know their class.
    return annotation is inherited or (sys.version_info >= (3, 14) and annotation == inherited)


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
