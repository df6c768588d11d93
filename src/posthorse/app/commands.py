"""Commands: a class whose objects say what to do, and the handler that does it.

This module reads both and makes a function of them whose parameters are the fields of the command, so that it can be a
kind like any other. It knows no bus, no application and no store.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar

from posthorse.errors import InvalidCall, InvalidOption
from posthorse.rules.arguments.annotations import annotations_of_fields, members_of, names_of, resolved, signature_of
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.depends import Dependency
from posthorse.rules.registry import check_has_no_yield
from posthorse.rules.resources import dependency_of
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.context import Context

R_co = TypeVar("R_co", covariant=True)


class Command(Generic[R_co]):
    """Tell type checkers what the handler of a command returns: `class SendMail(ph.Command[str])`.

    This is optional: any dataclass, msgspec.Struct, pydantic model or class with annotated fields can be a command. It
    is not needed for a command with `execute`, which says it by its annotation.
    """

    __slots__ = ()


class Handler(NamedTuple):
    """A command class and what is called for its objects."""

    command: type
    call: Callable[..., object]
    """Takes the command, after the context if the handler wants it."""
    context: Parameter | None
    """The parameter for the context; None if the handler takes none."""
    result_type: object
    is_async: bool
    can_do_without_context: bool
    marked: Mapping[str, Dependency]
    """The resources that the handler takes, by parameter."""

    def values_of(self, command: object) -> dict[str, object]:
        """Return the fields of a command by name. Raises InvalidCall if it has no attribute for one."""
        try:
            return {each.name: getattr(command, each.name) for each in _fields_of(self.command)}
        except AttributeError as error:
            raise InvalidCall(
                f"{self.command.__name__} cannot be read: {error}; a command is stored by the parameters of its class, "
                "so keep each in an attribute of the same name"
            ) from None

    def run(self, command: object) -> object:
        """Call the handler here, without a job; a coroutine of it is not awaited. Raises InvalidCall."""
        for resource in self.marked:
            raise InvalidCall(
                f"the handler of {self.command.__name__} takes {resource!r} as a resource, which only a worker makes; "
                "enqueue the command, or call the handler itself and pass it"
            )
        if self.context is None:
            return self.call(command)
        if self.can_do_without_context:
            return self.call(None, command)
        name = self.context.name
        raise InvalidCall(
            f"the handler of {self.command.__name__} takes {name}: ph.Context, and only a job has one; enqueue the "
            f"command, or write {name}: ph.Context | None and expect None"
        )

    def as_function(self, module: str) -> Callable[..., object]:
        """Return a function of the fields, for the worker: it builds the command and calls the handler."""
        command, call, leading = self.command, self.call, 0 if self.context is None else 1
        # No field of a usual class has such a name.
        names = {f"_resource_{name}": name for name in self.marked}

        def run(*args: object, **kwargs: object) -> object:
            made = {name: kwargs.pop(hidden) for hidden, name in names.items()}
            return call(*args[:leading], command(*args[leading:], **kwargs), **made)

        async def arun(*args: object, **kwargs: object) -> object:
            came: Any = run(*args, **kwargs)
            return await came

        function: Any = arun if self.is_async else run
        # No field of a usual class has this name.
        first = [] if self.context is None else [Parameter("_ctx", Parameter.POSITIONAL_ONLY, annotation=Context)]
        last = [Parameter(hidden, Parameter.KEYWORD_ONLY, default=self.marked[name]) for hidden, name in names.items()]
        parameters = [*first, *_fields_of(command), *last]
        function.__signature__ = inspect.Signature(parameters, return_annotation=self.result_type)
        function.__name__, function.__qualname__ = command.__name__, command.__qualname__
        function.__module__, function.__doc__ = module, command.__doc__
        made: Callable[..., object] = function
        return made


def handler_of(command: type, handler: object | None) -> Handler:
    """Pair a command class with its handler; without one, its method `execute` is it. Raises InvalidOption."""
    if not isinstance(command, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"a command is a class, such as a dataclass, not {short(command)}")
    _check_fields(command)
    read, call = _executing(command) if handler is None else _handling(command, handler)
    check_has_no_yield(read)
    name = f"the handler of {command.__name__}"
    try:
        signature = Signature(read, kind=name, context_type=Context)
        parameters = list(signature_of(read).parameters.values())
        marked = {each.name: mark for each in parameters if (mark := dependency_of(each, read)) is not None}
        taken = [None] * (int(signature.wants_context) + int(handler is not None))
        inspect.Signature(parameters).bind(*taken, **marked)
    except InvalidOption:
        raise
    except (TypeError, ValueError):
        takes = "execute takes nothing, or ctx: ph.Context" if handler is None else "it takes the command"
        also = "" if handler is None else ", after ctx: ph.Context if it needs the context of its job"
        raise InvalidOption(f"{name} cannot be called for one: {takes}{also}") from None
    context = parameters[0] if signature.wants_context else None
    return Handler(
        command,
        call,
        context,
        signature.result_type,
        inspect.iscoroutinefunction(read) or signature.returns_awaitable,
        context is not None and _may_be_none(context.annotation, read),
        marked,
    )


def _executing(command: type) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return what tells the signature of `execute`, and what calls it."""
    if not callable(getattr(command, "execute", None)):
        raise InvalidOption(
            f"{command.__name__} has no handler: register({command.__name__}, handler), or give it a method execute"
        )
    return _bound(command, "execute"), lambda *args, **made: args[-1].execute(*args[:-1], **made)


def _handling(command: type, handler: object) -> tuple[Callable[..., object], Callable[..., object]]:
    if inspect.isroutine(handler):
        return handler, handler
    owner = handler if isinstance(handler, type) else type(handler)
    names = [name for name in ("handle", "__call__") if any(name in vars(each) for each in owner.__mro__)]
    if not names:
        raise InvalidOption(
            f"{short(handler)} cannot handle {command.__name__}: a handler is a function, or a class with a method "
            "handle or __call__"
        )
    name = names[0]
    if isinstance(handler, type):
        return _bound(owner, name), lambda *args, **made: getattr(handler(), name)(*args, **made)
    call: Callable[..., object] = getattr(handler, name)
    return call, call


def _bound(owner: type, name: str) -> Callable[..., object]:
    """Return a method as if an object had it, so that its signature lacks `self`; it is never called."""
    method: Callable[..., object] = inspect.getattr_static(owner, name).__get__(object(), owner)
    return method


def _check_fields(command: type) -> None:
    """Raise InvalidOption for a class whose objects cannot be made again from their fields by name."""
    try:
        declared = signature_of(command).parameters.values()
    except (TypeError, ValueError) as error:
        raise InvalidOption(f"{command.__name__} cannot be a command: its parameters are unknown ({error})") from None
    for each in declared:
        if each.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            raise InvalidOption(
                f"{command.__name__} cannot be a command: a command is made again from its fields by name, and its "
                f"parameter {each} has no name of its own"
            )


def _fields_of(command: type) -> Sequence[Parameter]:
    """Return the parameters of a command class; annotations that are text are read where the class is defined."""
    declared = signature_of(command).parameters.values()
    try:
        hints = annotations_of_fields(command)
    except Exception:  # reading an annotation can run any code; the signature of the kind complains of it
        hints = {}
    return [each.replace(annotation=hints.get(each.name, _meant(each.annotation, command))) for each in declared]


def _meant(annotation: object, command: type) -> object:
    if annotation is Parameter.empty:
        return Any
    try:
        return resolved(annotation, command.__init__)  # type: ignore[misc]  # read, not called
    except Exception:
        return annotation


def _may_be_none(annotation: object, function: Callable[..., object]) -> bool:
    try:
        return NoneType in members_of(resolved(annotation, function))
    except Exception:  # imported for type checkers alone
        return "None" in names_of(annotation)
