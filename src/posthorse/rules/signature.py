"""What a job's function takes and gives: binds a call to it, checks every value, and stores the arguments.

Owns the form of stored arguments, one JSON object by parameter name, such as `{"user_id":7}`. Knows nothing
of jobs, stores or workers; never calls the function.

Where JSON and the annotation together say enough, msgspec writes the value as plain JSON and builds it again.
Where they leave it open (`str | UUID`, a dict with tuples as keys) the value is stored in the form that kept
values have, which says what each part is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import re
import types
import typing
from collections import Counter, abc
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from inspect import Parameter
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import UNSET

from posthorse.errors import InvalidArgument
from posthorse.rules.codec import (
    SCALAR_CHECKS,
    TOO_DEEP,
    Class,
    Misfit,
    Model,
    Names,
    NotOfType,
    carried_by,
    check_json,
    check_json_key,
    encode,
    encode_with_sets,
    field_names,
    instance_check,
    is_model,
    pack,
    restored,
    said,
    short,
    too_large,
    unpack,
)

ARGUMENT_LIMIT = 4 * 1024 * 1024
"""Bytes that the arguments of one job may take as JSON."""


class ArgumentsUnfit(Exception):
    """Stored arguments do not fit the function as it is now; the message says which and why."""


class Signature:
    """The parameters and the result of one job function.

    Annotations are read at first use, so that they may name what is defined later. Parameters named in
    `injected` are filled by the worker and are no arguments; neither is a first parameter that is annotated
    with `context_type`, or called `ctx` and not annotated.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        kind: str,
        context_type: type,
        injected: Collection[str] = (),
    ) -> None:
        self._function = function
        self._kind = kind
        self._context_type = context_type
        self._injected = injected
        declared = inspect.signature(function)
        self._all_parameters = list(declared.parameters.values())
        self._returns: object = declared.return_annotation

    @cached_property
    def wants_context(self) -> bool:
        """Whether the function takes the job's context as its first parameter."""
        if not self._all_parameters:
            return False
        first = self._all_parameters[0]
        if first.kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            return False
        if first.annotation is Parameter.empty:
            return first.name == "ctx"
        try:
            annotation = self._resolved(first.annotation)
        except Exception:
            # Imported for type checkers only, as `if TYPE_CHECKING:` does: the name has to be enough.
            name = re.escape(self._context_type.__name__)
            return re.fullmatch(rf"['\"]?(\w+\.)*{name}(\[.*\])?['\"]?", str(first.annotation)) is not None
        kind = get_origin(annotation) or annotation
        return isinstance(kind, type) and issubclass(kind, self._context_type)

    @cached_property
    def result_type(self) -> object:
        """What the function is annotated to return, or its coroutine to give; Any where nothing is said."""
        if self._returns is inspect.Signature.empty:
            return Any
        try:
            annotation = self._resolved(self._returns)
        except Exception:
            return Any
        if get_origin(annotation) in (Awaitable, Coroutine):
            return get_args(annotation)[-1]
        return annotation

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object], *, limit: int = ARGUMENT_LIMIT) -> str:
        """Binds and checks a call, without coercion, and gives its arguments as JSON text.

        Raises InvalidArgument, naming the argument, and TooLarge beyond `limit` bytes.
        """
        form = self._form
        if not args and not kwargs and not form.has_required:
            return "{}"
        try:
            filled = form.fill(*args, **kwargs)
        except TypeError:
            raise InvalidArgument(f"{self._kind}() {self._misbound(args, kwargs)}") from None
        name = ""
        try:
            for name, check in form.checks:
                if (value := getattr(filled, name)) is not UNSET:
                    check(value)
            outgoing = filled
            for name, packed in form.packs:
                if (value := getattr(filled, name)) is not UNSET:
                    outgoing = msgspec.structs.replace(outgoing, **{name: packed(value)})
            name = ""
            encoded = form.encode(outgoing)
        except Misfit as misfit:
            raise InvalidArgument(f"{self._kind}(): argument {misfit.told(name)}") from None
        except RecursionError:
            raise InvalidArgument(
                f"{self._kind}(): {f'argument {name}' if name else 'an argument'} {TOO_DEEP}"
            ) from None
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"{self._kind}(): the arguments have no form in JSON: {error}") from error
        if len(encoded) > limit:
            raise too_large(len(encoded), limit, f"the arguments of {self._kind}()")
        if form.on_trial:
            self._try_arrival(filled, encoded)
        return encoded.decode()

    def decode(self, text: str) -> tuple[tuple[object, ...], dict[str, object]]:
        """The call that was stored, as `args` and `kwargs` without context and injected parameters.

        Defaults that the call left open are those of the function as it is now. Raises ArgumentsUnfit.
        """
        form = self._form
        if text == "{}" and not form.has_required:
            return (), {}
        try:
            filled = form.decode(text)
        except Exception as error:  # code of the user's classes may run here, and raise anything
            raise ArgumentsUnfit(
                f"the stored arguments do not fit {self._kind}() as it is now: {self._unfit(text, error)}"
            ) from error
        if form.is_plain:
            return _values(filled), {}
        return form.call(filled)

    @cached_property
    def _form(self) -> _Form:
        return _Form(self._parameters, {each.name: self._passage(each) for each in self._parameters})

    @cached_property
    def _parameters(self) -> list[Parameter]:
        """Those that are arguments. What stands after an injected one can be told by name only."""
        parameters: list[Parameter] = []
        by_name = False
        for parameter in self._all_parameters[1 if self.wants_context else 0 :]:
            if parameter.name in self._injected:
                by_name = True
            elif not by_name:
                parameters.append(parameter)
            elif parameter.kind is Parameter.POSITIONAL_OR_KEYWORD:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
            elif parameter.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
                parameters.append(parameter)
        return parameters

    def _passage(self, parameter: Parameter) -> _Passage:
        try:
            return _passage(self._annotation(parameter))
        except Exception as error:  # an annotation can be anything, and to look at it can run any code
            return _no_passage(
                f"has an annotation, {parameter.annotation!r}, that cannot be read ({error}): "
                f"define or import what it names at the top of the module"
            )

    def _annotation(self, parameter: Parameter) -> object:
        """The type that the parameter's field has: `*args: int` is a tuple of int."""
        if parameter.annotation is Parameter.empty:
            annotation: Any = Any
        else:
            annotation = self._resolved(parameter.annotation)
        is_unpacked = get_origin(annotation) is typing.Unpack or hasattr(annotation, "__unpacked__")
        if parameter.kind is Parameter.VAR_POSITIONAL and not is_unpacked:
            return tuple.__class_getitem__((annotation, ...))
        if parameter.kind is Parameter.VAR_KEYWORD and not is_unpacked:
            return dict.__class_getitem__((str, annotation))
        return annotation

    def _resolved(self, annotation: object) -> object:
        """The annotation with its names looked up where the function was defined; each on its own."""
        function: Any = inspect.unwrap(self._function)
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

    def _misbound(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Why a call does not bind; reads on from `welcome()`."""
        parameters = self._parameters
        kinds = {each.kind for each in parameters}
        positional = [each.name for each in parameters if each.kind in _POSITIONAL]
        named = [each.name for each in parameters if each.kind in _NAMED]
        if Parameter.VAR_KEYWORD not in kinds:
            for name in kwargs:
                if name in named:
                    continue
                if name in positional:
                    return f"takes {name!r} by position only"
                if name in self._injected:
                    return f"got {name!r}, which is injected when the job runs and cannot be passed"
                return f"got an unexpected argument {name!r}; {_suggestion(name, dict.fromkeys([*positional, *named]))}"
        if len(args) > len(positional) and Parameter.VAR_POSITIONAL not in kinds:
            takes = f"{len(positional)} positional argument{'' if len(positional) == 1 else 's'}"
            listed = f" ({', '.join(positional)})" if positional else ""
            surplus = ", ".join(short(value) for value in args[len(positional) :])
            return f"takes {takes}{listed}, but {len(args)} came; surplus: {surplus}"
        for name in positional[: len(args)]:
            if name in kwargs and name in named:
                return f"got {name!r} twice, by position and by name"
        given = {*positional[: len(args)], *(name for name in kwargs if name in named)}
        missing = [each.name for each in parameters if _is_required(each) and each.name not in given]
        return f"is missing {_listed(missing)}"

    def _try_arrival(self, sent: msgspec.Struct, encoded: bytes) -> None:
        """Classes run code of their own when they are built: only a trial shows whether values come back."""
        form = self._form
        try:
            arrived = form.decode(encoded)
        except Exception as error:
            raise InvalidArgument(f"{self._kind}(): the arguments would not come back from JSON: {error}") from error
        for name, before, after in zip(form.names, _values(sent), _values(arrived), strict=True):
            if name in form.compared and before != after:
                raise InvalidArgument(
                    f"{self._kind}(): argument {name} would come back from JSON as another: "
                    f"{short(after)} for {short(before)}"
                )

    def _unfit(self, text: str, error: Exception) -> str:
        try:
            stored = msgspec.json.decode(text, type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError):
            return f"they are no JSON object ({error})"
        form = self._form
        if unknown := [name for name in stored if name not in form.names]:
            return f"it does not take {_listed(unknown)}; {_suggestion(unknown[0], form.names)}"
        if missing := [name for name in form.required if name not in stored]:
            return f"it needs {_listed(missing)}, which was not stored; a default would let old jobs run"
        return re.sub(r" - at `\$\.?(.*)`$", r" at \1", str(error)).replace("`", "")


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)

_values: Callable[[msgspec.Struct], tuple[Any, ...]] = msgspec.structs.astuple


class _Form:
    """The parameters as a msgspec Struct: a field each, UNSET where a call leaves the default alone."""

    def __init__(self, parameters: list[Parameter], passages: dict[str, _Passage]) -> None:
        struct, self.fill = _struct(parameters, passages)
        self.decode = msgspec.json.Decoder(struct, dec_hook=restored).decode
        self.encode = encode_with_sets if any(each.has_sets for each in passages.values()) else encode
        self.names = struct.__struct_fields__
        self.checks = [(name, passages[name].check) for name in self.names]
        self.packs = [(name, passage.pack) for name, passage in passages.items() if passage.pack]
        self.on_trial = any(passage.on_trial for passage in passages.values())
        self.compared = {name for name, each in passages.items() if each.on_trial and each.is_comparable}
        self.required = [each.name for each in parameters if _is_required(each)]
        self.has_required = bool(self.required)
        self.is_plain = all(_is_required(each) and each.kind in _POSITIONAL for each in parameters)
        # Plain attributes: those of inspect.Parameter are properties, and slow.
        self._places = [(each.kind in _POSITIONAL, each.kind, each.name, each.default) for each in parameters]

    def call(self, filled: msgspec.Struct) -> tuple[tuple[object, ...], dict[str, object]]:
        by_position: list[Any] = []
        by_name: dict[str, Any] = {}
        last = 0
        for (is_positional, kind, name, default), value in zip(self._places, _values(filled), strict=True):
            if is_positional:
                # A default that was left open before something given has to be filled in.
                by_position.append(default if value is UNSET else value)
                last = last if value is UNSET else len(by_position)
            elif value is UNSET:
                continue
            elif kind is Parameter.VAR_POSITIONAL:
                by_position.extend(cast("tuple[object, ...]", value))
                last = len(by_position)
            elif kind is Parameter.VAR_KEYWORD:
                by_name.update(cast("dict[str, object]", value))
            else:
                by_name[name] = value
        return tuple(by_position[:last]), by_name


def _is_required(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind in (*_POSITIONAL, *_NAMED)


def _struct(
    parameters: list[Parameter], passages: dict[str, _Passage]
) -> tuple[type[msgspec.Struct], Callable[..., msgspec.Struct]]:
    """The Struct, and what binds a call to it: the Struct itself wherever it binds as Python would."""
    binds_alike = all(each.kind in _NAMED for each in parameters)
    by_position: list[Any] = []
    by_name: list[Any] = []
    for each in parameters:
        wire = passages[each.name].wire
        fields = by_position if binds_alike and each.kind in _POSITIONAL else by_name
        fields.append((each.name, wire) if _is_required(each) else (each.name, wire, UNSET))
    base = msgspec.defstruct("Positional", by_position)
    struct = msgspec.defstruct("Arguments", by_name, bases=(base,), kw_only=True, forbid_unknown_fields=True)
    if binds_alike:
        return struct, struct
    signature = inspect.Signature(parameters)
    return struct, lambda *args, **kwargs: struct(**signature.bind(*args, **kwargs).arguments)


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = list(known)
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"it takes {', '.join(known)}" if known else "it takes none"


def _listed(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    head = f"{', '.join(quoted[:-1])} and " if len(quoted) > 1 else ""
    return f"the argument{'s' if head else ''} {head}{quoted[-1]}"


# ---- Passages and shapes: how values of one annotation travel, and what it admits


@dataclasses.dataclass(frozen=True, slots=True)
class _Passage:
    check: Callable[[object], None]
    """Raises Misfit for a value that may not board."""
    wire: object
    """The type for a msgspec decoder that has `restored` as its hook."""
    pack: Callable[[object], object] | None = None
    """What is encoded in place of a checked value; None: the value itself."""
    on_trial: bool = False
    """Classes run code of the user when they are built: only a trial shows whether values come back."""
    is_comparable: bool = True
    """All of these classes say what equality means."""
    has_sets: bool = False


def _passage(annotation: object) -> _Passage:
    shape = _shape(annotation, {})
    names = _names(shape.classes)
    objects = [kind for kind in names if not issubclass(kind, Enum)]
    passage = _Passage(
        shape.check,
        annotation,
        on_trial=bool(objects),
        # Models compare private attributes too, which do not travel; their own check compares the fields.
        is_comparable=not any(kind.__eq__ is object.__eq__ or is_model(kind) for kind in objects),
        has_sets=shape.has_sets,
    )
    if shape.is_clear and _msgspec_carries(annotation):
        return passage
    return dataclasses.replace(
        passage,
        wire=carried_by(functools.partial(unpack, names=names)),
        pack=functools.partial(pack, names=names),
    )


def _no_passage(complaint: str) -> _Passage:
    def refuse(value: object) -> None:
        raise Misfit(complaint, value)

    return _Passage(refuse, carried_by(refuse))


def _msgspec_carries(annotation: object) -> bool:
    try:
        msgspec.json.Decoder(cast("type[Any]", annotation), dec_hook=restored)
    except (TypeError, RecursionError):
        return False
    return True


def _names(classes: Iterable[Class]) -> Names:
    """A name for each class: its own, and with its module where two share it."""
    counted = Counter(kind.__qualname__ for kind in classes)
    return {
        kind: kind.__qualname__ if counted[kind.__qualname__] == 1 else f"{kind.__module__}.{kind.__qualname__}"
        for kind in classes
    }


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    check: Callable[[object], None]
    classes: frozenset[Class] = frozenset()
    """The classes of the user that values may hold."""
    is_clear: bool = True
    """The JSON that msgspec writes for a checked value can only be read as that value."""
    is_clear_as_key: bool = False
    """The same of the text that a key is in JSON."""
    has_sets: bool = False


_ANYTHING = _Shape(check_json)

_Known = dict[object, _Shape | None]
"""Shapes of classes by annotation; None while one is being made, for classes that contain themselves."""


def _shape(annotation: Any, known: _Known) -> _Shape:  # noqa: ANN401 - an annotation can be any object
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is object:
        return _ANYTHING
    if annotation is None:
        return _shape(types.NoneType, known)
    if origin is Annotated:
        return _limited(annotation, _shape(inner[0], known))
    if origin in _QUALIFIERS:
        return _shape(inner[0], known)
    if origin in (Union, types.UnionType):
        return _union(inner, known)
    if origin is Literal:
        return _literal(inner)
    if isinstance(annotation, TypeVar):
        return _union(annotation.__constraints__ or (annotation.__bound__ or Any,), known)
    if isinstance(annotation, typing.NewType):
        return _shape(annotation.__supertype__, known)
    if type(origin or annotation).__name__ == "TypeAliasType":
        return _once(annotation, known, lambda: _shape(_meaning_of_alias(annotation), known))
    if annotation is typing.LiteralString:
        return _shape(str, known)
    if isinstance(kind := origin or annotation, type):
        return _shape_of_class(cast("Class", kind), annotation, known)
    return _refusing(annotation)


_QUALIFIERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired, typing.Unpack)


def _shape_of_class(kind: Class, annotation: object, known: _Known) -> _Shape:
    inner = get_args(annotation)
    if kind in SCALAR_CHECKS:
        return _Shape(SCALAR_CHECKS[kind], is_clear_as_key=kind not in (bool, types.NoneType))
    if get_origin(annotation) is tuple and inner[1:] != (...,):
        return _tuple(said(annotation), [_shape(each, known) for each in inner])
    if kind in _COLLECTIONS:
        return _items(kind, said(annotation), _shape(inner[0] if inner else Any, known))
    if kind in (dict, abc.Mapping, abc.MutableMapping):
        return _dict(*(_shape(each, known) for each in inner or (Any, Any)))
    if issubclass(kind, Enum):
        return _Shape(instance_check(kind, said(kind)), frozenset([kind]), is_clear_as_key=True)
    if is_model(kind):
        return _Shape(_model_check(kind), frozenset([kind]))
    if hasattr(kind, "__required_keys__"):
        return _once(annotation, known, lambda: _typed_dict(kind, _annotations_of_fields(annotation), known))
    if (names := field_names(kind)) is not None:
        return _once(annotation, known, lambda: _record(kind, names, _annotations_of_fields(annotation), known))
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
"""What may come where one of these is annotated; one-way iterators cannot be stored."""


def _refusing(annotation: object) -> _Shape:
    def refuse(value: object) -> None:
        raise Misfit(f"is annotated {said(annotation)}, which cannot travel: pass its key or its fields", value)

    return _Shape(refuse)


def _once(annotation: object, known: _Known, make: Callable[[], _Shape]) -> _Shape:
    """The shape of what may contain itself: made at the first mention, spoken of later by the others."""
    if annotation not in known:
        known[annotation] = None
        known[annotation] = make()
    return known[annotation] or _Shape(lambda value: cast("_Shape", known[annotation]).check(value))


def _limited(annotation: Any, shape: _Shape) -> _Shape:  # noqa: ANN401 - an annotation can be any object
    """Limits such as `Annotated[int, msgspec.Meta(ge=1)]` hold at both ends; other notes say nothing here."""
    if not any(isinstance(note, msgspec.Meta) for note in annotation.__metadata__):
        return shape

    def check(value: object) -> None:
        shape.check(value)
        try:
            msgspec.convert(value, annotation, builtin_types=_STAY_AS_THEY_ARE, dec_hook=restored)
        except msgspec.ValidationError as error:
            raise Misfit(f"is outside its limits ({error})", value) from None

    return dataclasses.replace(shape, check=check)


_STAY_AS_THEY_ARE = (bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal)


def _items(kind: Class, expected: str, item: _Shape) -> _Shape:
    kinds, check_item = _COLLECTIONS[kind], item.check

    def check(value: object) -> None:
        if not isinstance(value, kinds):
            raise NotOfType(expected, value)
        for place, each in enumerate(cast("Iterable[object]", value)):
            try:
                check_item(each)
            except Misfit as misfit:
                raise misfit.in_item(place) from None

    # JSON gives back a list for a tuple, and no set can hold one.
    is_set = kinds[0] in (set, frozenset)
    is_clear = len(kinds) == 1 and not (is_set and item is _ANYTHING)
    return dataclasses.replace(_composed(check, [item], is_clear=is_clear), has_sets=is_set or item.has_sets)


def _tuple(expected: str, shapes: list[_Shape]) -> _Shape:
    def check(value: object) -> None:
        items = cast("tuple[object, ...]", value)
        if not isinstance(value, tuple) or len(items) != len(shapes):
            raise NotOfType(expected, items)
        for place, (shape, each) in enumerate(zip(shapes, items, strict=True)):
            try:
                shape.check(each)
            except Misfit as misfit:
                raise misfit.in_item(place) from None

    return _composed(check, shapes)


def _dict(key: _Shape, item: _Shape) -> _Shape:
    if key is _ANYTHING:
        key = _Shape(check_json_key, is_clear_as_key=True)

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise NotOfType("dict", value)
        for each, content in cast("dict[object, object]", value).items():
            try:
                key.check(each)
            except Misfit as misfit:
                raise misfit.in_key(each) from None
            try:
                item.check(content)
            except Misfit as misfit:
                raise misfit.in_item(each) from None

    return _composed(check, [key, item], is_clear=key.is_clear_as_key)


def _union(members: tuple[object, ...], known: _Known) -> _Shape:
    shapes = [_shape(member, known) for member in members]
    if _ANYTHING in shapes or len(shapes) == 1:
        return _ANYTHING if _ANYTHING in shapes else shapes[0]
    expected = " | ".join(said(member) for member in members)

    def check(value: object) -> None:
        tellings: list[Misfit] = []
        for shape in shapes:
            try:
                return shape.check(value)
            except Misfit as misfit:
                if misfit.steps or not isinstance(misfit, NotOfType):
                    tellings.append(misfit)
        raise max(tellings, key=lambda misfit: len(misfit.steps)) if tellings else NotOfType(expected, value)

    return _composed(check, shapes)


def _literal(values: tuple[object, ...]) -> _Shape:
    expected = " or ".join(short(value) for value in values)

    def check(value: object) -> None:
        # By type too, because True == 1.
        if not any(value == each and type(value) is type(each) for each in values):
            raise NotOfType(expected, value)

    enums = frozenset[Class](type(value) for value in values if isinstance(value, Enum))
    return _Shape(check, enums, is_clear_as_key=all(isinstance(value, str) for value in values))


def _model_check(kind: Class) -> Callable[[object], None]:
    """For pydantic: fields that are left out of the JSON, or changed by it, are found by a trial."""

    def check(value: object) -> None:
        _check_exact(kind, value)
        try:
            arrived = restored(kind, msgspec.json.decode(encode(value)))
        except Exception as error:  # validators and serialisers of the user run here
            raise Misfit(f"would not come back from JSON ({error})", value) from error
        for name, content in cast("Model", value):
            after = getattr(arrived, name, None)
            if after != content:
                raise Misfit(f"would come back from JSON as {short(after)}", content).in_field(name)

    return check


def _typed_dict(kind: Any, annotations: dict[str, object], known: _Known) -> _Shape:  # noqa: ANN401 - any class
    shapes = {name: _shape(annotation, known) for name, annotation in annotations.items()}
    required = [name for name, annotation in annotations.items() if _is_required_key(kind, name, annotation)]

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise NotOfType(said(kind), value)
        given = cast("dict[str, object]", value)
        for name in required:
            if name not in given:
                raise Misfit(f"is missing the key {name!r} of {said(kind)}", given)
        for name, content in given.items():
            if name not in shapes:
                raise Misfit(f"has the key {short(name)}, which {said(kind)} has not", given)
            try:
                shapes[name].check(content)
            except Misfit as misfit:
                raise misfit.in_item(name) from None

    return _composed(check, list(shapes.values()))


def _is_required_key(kind: Any, name: str, annotation: object) -> bool:  # noqa: ANN401 - a TypedDict has no type
    # A class whose annotations are strings has not seen its own Required and NotRequired.
    if (origin := get_origin(annotation)) in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in kind.__required_keys__


def _record(kind: Class, names: list[str], annotations: dict[str, object], known: _Known) -> _Shape:
    """A dataclass, Struct, NamedTuple or attrs class."""
    shapes = [_shape(annotations.get(name, Any), known) for name in names]
    checks = [(name, shape.check) for name, shape in zip(names, shapes, strict=True)]

    def check(value: object) -> None:
        _check_exact(kind, value)
        for name, check_field in checks:
            try:
                check_field(getattr(value, name, None))
            except Misfit as misfit:
                raise misfit.in_field(name) from None

    shape = _composed(check, shapes)
    return dataclasses.replace(shape, classes=shape.classes | {kind})


def _check_exact(kind: Class, value: object) -> None:
    if not isinstance(value, kind):
        raise NotOfType(said(kind), value)
    if type(value) is not kind:
        raise Misfit(f"must be exactly {said(kind)}, because its subclass would arrive as {said(kind)}", value)


def _annotations_of_fields(annotation: object) -> dict[str, object]:
    """The annotations of a class's fields, with what its type parameters stand for."""
    hints = typing.get_type_hints(get_origin(annotation) or annotation, include_extras=True)
    meaning = _type_parameters(annotation)
    return {name: _with_parameters(hint, meaning) for name, hint in hints.items()}


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


def _meaning_of_alias(annotation: Any) -> object:  # noqa: ANN401 - TypeAliasType is newer than Python 3.11
    inner = get_args(annotation)
    return annotation.__value__[inner] if inner else annotation.__value__


def _composed(check: Callable[[object], None], shapes: list[_Shape], *, is_clear: bool = True) -> _Shape:
    return _Shape(
        check,
        frozenset[Class]().union(*(shape.classes for shape in shapes)),
        is_clear and all(shape.is_clear for shape in shapes),
        has_sets=any(shape.has_sets for shape in shapes),
    )
