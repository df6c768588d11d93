"""The signature of a job's function: bind a call to it, check every value, and store the arguments.

This module reads the function and reports type mismatches in its name; the modules beside it do the work. It knows
nothing of jobs, stores or workers, and never calls the function.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from inspect import Parameter
from typing import Any, cast, get_args, get_origin

import msgspec
from msgspec import UNSET

from posthorse.errors import InvalidArgument
from posthorse.rules.arguments.annotations import members_of, names_of, resolved, signature_of
from posthorse.rules.arguments.codec import ArgumentCodec, codec_of, no_codec
from posthorse.rules.arguments.complaints import misbound, refused, why_unfit
from posthorse.rules.arguments.outputs import Filling, holds_outputs, outputs_in
from posthorse.rules.arguments.schema import schema_of
from posthorse.rules.arguments.stored_form import POSITIONAL, Form, is_required, values_of
from posthorse.rules.depends import Dependency
from posthorse.rules.resources import Replacements, Resources, dependency_of, is_marked, resources_of
from posthorse.rules.values.checks import TOO_DEEP
from posthorse.rules.values.equality import is_same
from posthorse.rules.values.msgspec_json import encode, restored, too_large
from posthorse.rules.values.type_mismatch import TypeMismatch, short

ARGUMENT_LIMIT = 4 * 1024 * 1024
"""Maximum size of the arguments of one job, in bytes of JSON."""


class ArgumentsUnfit(Exception):
    """Raised if stored arguments do not fit the current function; the message says which and why."""


class InputsUnfit(ValueError):
    """Raised if the results of other jobs do not fit the parameters that they fill; the message says which and why."""


class Signature:
    """The parameters and the result of one job function.

    Annotations are read at first use, so they may name what is defined later. The first parameter is not an argument if
    it is annotated with `context_type`, or is called `ctx` and not annotated: the worker fills it.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        kind: str,
        context_type: type,
    ) -> None:
        self._function = function
        self._kind = kind
        self._context_type = context_type
        self._marked: dict[str, Dependency] = {}
        declared = signature_of(function)
        self._all_parameters = list(declared.parameters.values())
        self._returns: object = declared.return_annotation

    @cached_property
    def wants_context(self) -> bool:
        """Whether the function takes the job's context as its first parameter."""
        if not self._all_parameters:
            return False
        first = self._all_parameters[0]
        if first.kind not in POSITIONAL or isinstance(first.default, Dependency):
            return False
        if first.annotation is Parameter.empty:
            return first.name == "ctx"
        return self._is_context(first.annotation)

    def plan_resources(self, replacements: Replacements | None = None) -> Resources | None:
        """Find out which parameters are resources; they are not arguments. Raises InvalidOption.

        replacements: providers that a test replaces.
        """
        for each in self._all_parameters[1 if self.wants_context else 0 :]:
            if (dependency := dependency_of(each, self._function)) is not None:
                self._marked[each.name] = dependency
        return resources_of(
            self._function,
            self._marked,
            self._all_parameters,
            context_type=self._context_type,
            replacements=replacements,
        )

    @property
    def first_name(self) -> str | None:
        """The name of the first parameter, context or argument."""
        return self._all_parameters[0].name if self._all_parameters else None

    @property
    def misplaced_context(self) -> str | None:
        """The name of a parameter that is annotated as a context but is not the first."""
        for place, parameter in enumerate(self._all_parameters):
            may_be_one = place == 0 and parameter.kind in POSITIONAL
            if (
                not may_be_one
                and parameter.name not in self._marked
                and parameter.annotation is not Parameter.empty
                and self._is_context(parameter.annotation)
            ):
                return parameter.name
        return None

    def _is_context(self, annotation: object) -> bool:
        """Recognise a context also in `ph.Context | None`, which lets users call the job directly, and inside
        Annotated.
        """
        try:
            meant = resolved(annotation, self._function)
        except Exception:
            # Imported under `if TYPE_CHECKING:` only, so the name must be enough.
            return self._context_type.__name__ in names_of(annotation)
        kinds = [get_origin(member) or member for member in members_of(meant)]
        return any(isinstance(kind, type) and issubclass(kind, self._context_type) for kind in kinds)

    @property
    def names(self) -> Sequence[str]:
        """The names of the parameters that are arguments."""
        return [parameter.name for parameter in self._parameters]

    @cached_property
    def result_type(self) -> object:
        """The annotated return type, or what the coroutine returns; Any without an annotation."""
        if self._returns is inspect.Signature.empty:
            return Any
        try:
            annotation = resolved(self._returns, self._function)
        except Exception:
            return Any
        return get_args(annotation)[-1] if self._is_awaitable(annotation) and get_args(annotation) else annotation

    @cached_property
    def returns_awaitable(self) -> bool:
        """Whether the function is annotated to return something that must be awaited for the result."""
        if self._returns is inspect.Signature.empty:
            return False
        try:
            return self._is_awaitable(resolved(self._returns, self._function))
        except Exception:
            return False

    @staticmethod
    def _is_awaitable(annotation: object) -> bool:
        kind = get_origin(annotation) or annotation
        return isinstance(kind, type) and issubclass(kind, Awaitable)

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object], *, limit: int = ARGUMENT_LIMIT) -> str:
        """Bind and check a call without coercion, and return its arguments as JSON text.

        Raises InvalidArgument, which names the argument, and TooLarge beyond `limit` bytes.
        """
        if not args and not kwargs and not self._form.has_required:
            return "{}"
        return self._encoded(self._bound(args, kwargs), limit)

    def encode_around_outputs(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> tuple[str, Mapping[str, Filling]]:
        """Do as `encode`, and leave out each parameter that consists of outputs; return them by its name.

        Raises InvalidArgument, TooLarge.
        """
        filled = self._bound(args, kwargs)
        values = zip(self._form.names, values_of(filled), strict=True)
        left_out = {name: found for name, value in values if (found := outputs_in(value)) is not None}
        unset = dict.fromkeys(left_out, UNSET)
        return self._encoded(msgspec.structs.replace(filled, **unset), ARGUMENT_LIMIT, is_whole=not left_out), left_out

    def _bound(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> msgspec.Struct:
        """Bind a call; values are not checked yet. Raises InvalidArgument."""
        if self._marked:
            self._refuse_resources(kwargs)
        try:
            return self._form.fill(*args, **kwargs)
        except TypeError:
            raise InvalidArgument(f"{self._kind}() {misbound(self._parameters, args, kwargs)}") from None

    def _encoded(self, filled: msgspec.Struct, limit: int, *, is_whole: bool = True) -> str:
        """Check a bound call and return it as JSON text. `is_whole`: whether no parameter was left out."""
        form = self._form
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
        except TypeMismatch as mismatch:
            has_outputs = holds_outputs((mismatch.value,))
            alone = "; an output is an argument by itself, or one of a list of outputs" if has_outputs else ""
            raise InvalidArgument(f"{self._kind}(): argument {mismatch.message(name)}{alone}").at((name,)) from None
        except RecursionError:
            raise InvalidArgument(
                f"{self._kind}(): {f'argument {name}' if name else 'an argument'} {TOO_DEEP}"
            ) from None
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"{self._kind}(): the arguments have no form in JSON: {error}") from error
        if len(encoded) > limit:
            raise too_large(len(encoded), limit, f"the arguments of {self._kind}()")
        if form.on_trial and is_whole:
            self._try_arrival(filled, encoded)
        return encoded.decode()

    def received(self, text: bytes) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return a call that another program sent as a JSON object by name, as `args` and `kwargs`.

        What `encode` checks beyond JSON is not checked yet. Raises InvalidArgument, whose `path` leads to the value.
        """
        form = self._form
        try:
            filled = form.decode(text)
        except Exception as error:  # the user's classes may run code here, and raise anything
            message, path = refused(form, text, error)
            raise InvalidArgument(f"{self._kind}(): {message}").at(path) from None
        return form.call(filled)

    def decode(self, text: str) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the stored call as `args` and `kwargs`, without the context.

        Defaults that the call left in force are taken from the current function. Raises ArgumentsUnfit.
        """
        form = self._form
        if text == "{}" and not form.has_required:
            return (), {}
        try:
            filled = form.decode(text)
        except Exception as error:  # the user's classes may run code here, and raise anything
            raise ArgumentsUnfit(
                f"the stored arguments do not fit {self._kind}() as it is now: {why_unfit(form, text, error)}"
            ) from error
        return form.call(filled)

    def filled_in(self, text: str, inputs: Mapping[str, str], *, is_whole: bool = True) -> str:
        """Put results of other jobs (JSON) into a stored call, as the parameters that it leaves out; return the whole.

        A parameter that was stored stays. `is_whole`: whether nothing is left out then. Raises InputsUnfit.
        """
        packs = dict(self._form.packs)
        filled = text
        try:
            whole = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            for name, result in inputs.items():
                if name not in whole:
                    pack = packs.get(name)
                    value = result.encode() if pack is None else encode(pack(msgspec.json.decode(result)))
                    whole[name] = msgspec.Raw(value)
            filled = msgspec.json.encode(whole).decode()
            if is_whole:
                self._form.decode(filled)
        except Exception as error:  # the user's classes may run code here, and raise anything
            raise InputsUnfit(
                f"the results of earlier jobs do not fit {self._kind}() as it is now: "
                f"{why_unfit(self._form, filled, error)}"
            ) from error
        return filled

    def stored_argument(self, text: str, name: str) -> object:
        """Return one argument of a stored call that may lack others; UNSET if it is not there or does not fit."""
        parameter = next((each for each in self._parameters if each.name == name), None)
        try:
            stored = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get(name)
            if parameter is None or (stored is None and is_required(parameter)):
                return UNSET
            if stored is None:
                return parameter.default
            wire = cast("type[Any]", self._codec(parameter).wire)
            return msgspec.json.Decoder(wire, dec_hook=restored).decode(stored)
        except Exception:  # the user's classes may run code here, and raise anything
            return UNSET

    def schema(self) -> dict[str, object]:
        """Return a JSON Schema of the arguments by name."""
        return schema_of(self._form)

    def named(self, text: str) -> dict[str, object]:
        """Return the stored arguments by name, defaults included. Raises ArgumentsUnfit."""
        form = self._form
        try:
            filled = form.decode(text)
        except Exception as error:  # the user's classes may run code here, and raise anything
            raise ArgumentsUnfit(why_unfit(form, text, error)) from error
        defaults = {each.name: each.default for each in self._parameters}
        return {
            name: defaults.get(name) if value is UNSET else value
            for name, value in zip(form.names, values_of(filled), strict=True)
        }

    def takes(self, name: str) -> bool:
        """Return whether an argument has that name."""
        return any(each.name == name for each in self._parameters)

    def replaced(self, text: str, changes: Mapping[str, object], *, lacking: Collection[str] = ()) -> str:
        """Replace the named arguments in a stored call, and check the new values as `encode` does.

        lacking: what the stored call leaves out, because results of other jobs fill it.

        Raises InvalidArgument, TooLarge, and ArgumentsUnfit if the stored call does not fit the function.
        """
        form = self._form
        for name in changes:
            if name not in form.names:
                raise InvalidArgument(
                    f"{self._kind}() has no argument {name!r}; it takes {', '.join(form.names) or 'none'}"
                )
        if lacking:
            stored = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            changed = self._encoded(form.only(changes), ARGUMENT_LIMIT, is_whole=False)
            return msgspec.json.encode(stored | msgspec.json.decode(changed, type=dict[str, msgspec.Raw])).decode()
        try:
            filled = form.decode(text)
        except Exception as error:  # the user's classes may run code here, and raise anything
            raise ArgumentsUnfit(why_unfit(form, text, error)) from error
        args, kwargs = form.call(msgspec.structs.replace(filled, **changes))
        return self.encode(args, kwargs)

    @cached_property
    def _form(self) -> Form:
        return Form(self._parameters, {each.name: self._codec(each) for each in self._parameters})

    @cached_property
    def _parameters(self) -> list[Parameter]:
        """The parameters that are arguments."""
        parameters = self._all_parameters[1 if self.wants_context else 0 :]
        return [each for each in parameters if each.name not in self._marked] if self._marked else parameters

    def _refuse_resources(self, kwargs: Mapping[str, object]) -> None:
        for name in kwargs:
            if name in self._marked:
                raise InvalidArgument(
                    f"{self._kind}() takes {name!r} as a resource: {self._marked[name]}; the worker makes it, so leave "
                    "it out"
                )

    def _codec(self, parameter: Parameter) -> ArgumentCodec:
        try:
            annotation = self._annotation(parameter)
            if is_marked(annotation):
                return no_codec(
                    "is a resource, and its annotation could not be read when the function was declared: define or "
                    "import what it names above the function"
                )
            return codec_of(annotation)
        except Exception as error:  # evaluating an annotation can run any code
            return no_codec(
                f"has an annotation, {parameter.annotation!r}, that cannot be read ({error}): "
                f"define or import what it names at the top of the module"
            )

    def _annotation(self, parameter: Parameter) -> object:
        """Return the type of the parameter's field: `*args: int` is a tuple of int."""
        if parameter.annotation is Parameter.empty:
            annotation: Any = Any
        else:
            annotation = resolved(parameter.annotation, self._function)
        is_unpacked = get_origin(annotation) is typing.Unpack or hasattr(annotation, "__unpacked__")
        if parameter.kind is Parameter.VAR_POSITIONAL and not is_unpacked:
            return tuple.__class_getitem__((annotation, ...))
        if parameter.kind is Parameter.VAR_KEYWORD and not is_unpacked:
            return dict.__class_getitem__((str, annotation))
        return annotation

    def _try_arrival(self, sent: msgspec.Struct, encoded: bytes) -> None:
        """Encode and decode once, because the user's classes run code when they are built."""
        form = self._form
        try:
            arrived = form.decode(encoded)
        except Exception as error:
            raise InvalidArgument(f"{self._kind}(): the arguments would not come back from JSON: {error}") from error
        for name, before, after in zip(form.names, values_of(sent), values_of(arrived), strict=True):
            if name in form.compared and not is_same(before, after):
                raise InvalidArgument(
                    f"{self._kind}(): argument {name} would come back from JSON as another: "
                    f"{short(after)} for {short(before)}"
                )
