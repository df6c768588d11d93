"""Resources: which parameters of a function a worker fills, with which providers, and in which order these are called.

All is read and checked when the function is declared. This module calls no provider.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Annotated, Any, cast, get_args, get_origin

from posthorse.errors import InvalidCall, InvalidOption
from posthorse.rules.arguments.annotations import meaning_of_alias, members_of, names_of, resolved, signature_of
from posthorse.rules.depends import Dependency, Scope

Provider = Callable[..., Any]

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_REST = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Resource:
    """What one provider makes in one scope; two parameters that name the same get the same value."""

    provider: Provider
    scope: Scope
    context: str | None = field(compare=False)
    """The parameter for the context of the job; None if the provider takes none."""
    needs: tuple[tuple[str, Resource], ...] = field(compare=False)
    """Its own resources, by parameter."""
    is_generator: bool = field(compare=False)
    is_async_generator: bool = field(compare=False)
    replacements: int = 0
    """Under which replacements of a test it is made: what was made under others is another resource."""

    @property
    def name(self) -> str:
        """The provider, for messages."""
        return _name(self.provider)


@dataclass(frozen=True)
class Replacements:
    """Which providers a test replaces, and by what. The number tells these replacements from earlier ones."""

    providers: Mapping[Provider, Provider]
    number: int


@dataclass(frozen=True)
class Resources:
    """The resources of one function."""

    of_parameters: tuple[tuple[str, Resource], ...]
    order: tuple[Resource, ...]
    """All that are needed, each after those that it needs itself."""
    places: tuple[tuple[int, str], ...]
    """Parameters that can be given by position, as (position, name)."""

    @functools.cached_property
    def wants_context(self) -> bool:
        """Whether any provider takes the context of the job."""
        return any(each.context is not None for each in self.order)

    def merged(
        self, args: tuple[object, ...], kwargs: dict[str, object], values: Mapping[Resource, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return a call with the values of the resources at their places."""
        named = {name: values[resource] for name, resource in self.of_parameters}
        by_position = list(args)
        for place, name in self.places:
            if place < len(by_position):
                by_position.insert(place, named.pop(name))
        return tuple(by_position), {**kwargs, **named}


def dependency_of(parameter: Parameter, function: Callable[..., object]) -> Dependency | None:
    """Return the marker that makes a parameter a resource; None if it is an argument. Raises InvalidOption."""
    marks = [parameter.default] if isinstance(parameter.default, Dependency) else []
    marks += _in_annotation(parameter, function, is_marked=bool(marks))
    if not marks:
        return None
    if len(marks) > 1:
        raise InvalidOption(f"{_name(function)}() marks {parameter.name!r} twice as a resource; keep one ph.depends")
    if parameter.kind not in _BY_NAME:
        raise InvalidOption(
            f"{_name(function)}() cannot take {parameter} as a resource: a worker passes resources by name"
        )
    return marks[0]


def is_marked(annotation: object) -> bool:
    """Return whether an annotation that was looked up makes its parameter a resource."""
    return any(isinstance(mark, Dependency) for mark in _metadata(annotation))


def check_given(
    resources: Resources, function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> None:
    """Raise InvalidCall if a call that no worker makes leaves a resource to the worker."""
    signature = signature_of(function)
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return  # the call itself says what is wrong
    for name, resource in resources.of_parameters:
        if name not in given and isinstance(signature.parameters[name].default, Dependency):
            raise InvalidCall(
                f"{_name(function)}() takes {name!r} as a resource, which {resource.name}() makes in a worker alone; "
                f"a direct call passes it: {name}=…"
            )


def resources_of(
    function: Callable[..., object],
    marked: Mapping[str, Dependency],
    parameters: Sequence[Parameter],
    *,
    context_type: type,
    replacements: Replacements | None = None,
) -> Resources | None:
    """Plan the resources of a job's function; None if it has none. Raises InvalidOption.

    parameters: all of the function, its context included.
    """
    if not marked:
        return None
    plan = _Plan(context_type, _name(function), replacements)
    of_parameters = tuple((name, plan.resource(dependency)) for name, dependency in marked.items())
    positional = [each.name for each in parameters if each.kind in (Parameter.POSITIONAL_ONLY, _BY_NAME[0])]
    places = tuple((place, name) for place, name in enumerate(positional) if name in marked)
    return Resources(of_parameters, tuple(plan.done.values()), places)


class _Plan:
    """The providers of one function, each after those that it needs."""

    def __init__(self, context_type: type, root: str, replacements: Replacements | None) -> None:
        self._context_type = context_type
        self._path: list[tuple[Hashable, str]] = [(None, root)]
        self._replacements = replacements
        self.done: dict[Hashable, Resource] = {}

    def resource(self, dependency: Dependency, *, taken_by: Provider | None = None) -> Resource:
        """Return the resource; a replacement that takes what it replaces gets the original."""
        original = _hashable(dependency.provider)
        provider = self._replacement_of(original)
        if provider == taken_by:
            provider = original
        name = _name(provider)
        key = (_hashable(provider), dependency.scope)
        if key in self.done:
            return self.done[key]
        if any(key == above for above, _ in self._path):
            circle = " → ".join([*(each for _, each in self._path[1:]), name])
            raise InvalidOption(f"providers need each other in a circle: {circle}; take one of them out")
        self._path.append((key, name))
        made = self._read(provider, dependency.scope, is_replaced=provider is not original)
        self._path.pop()
        self.done[key] = made
        return made

    def _replacement_of(self, provider: Provider) -> Provider:
        return provider if self._replacements is None else self._replacements.providers.get(provider, provider)

    def _read(self, provider: Provider, scope: Scope, *, is_replaced: bool) -> Resource:
        name, code = _name(provider), _code_of(provider)
        try:
            parameters = signature_of(provider).parameters.values()
        except (TypeError, ValueError) as error:
            raise InvalidOption(
                f"{name} cannot be a provider: its parameters are unknown ({error}); wrap it in a def"
            ) from None
        context: str | None = None
        needs: list[tuple[str, Resource]] = []
        for each in parameters:
            dependency = dependency_of(each, code)
            if dependency is not None:
                needs.append((each.name, self._needed(dependency, scope, provider)))
            elif each.kind in _BY_NAME and self._is_context(each, code):
                if scope == "process":
                    raise InvalidOption(
                        f"{name}() takes {each.name!r}, the context of a job, and its resource is for the whole "
                        'process; give it scope="job", or let it do without'
                    )
                context = each.name
            elif each.default is Parameter.empty and each.kind not in _REST:
                raise InvalidOption(
                    f"{name}() cannot be a provider: nothing fills its parameter {each.name!r}; give it a default or "
                    f"ph.depends(…), or annotate it with ph.Context"
                )
        called = _called(provider)
        number = 0 if self._replacements is None else self._replacements.number
        return Resource(
            provider,
            scope,
            context,
            tuple(needs),
            inspect.isgeneratorfunction(called),
            inspect.isasyncgenfunction(called),
            replacements=number if is_replaced or any(need.replacements for _, need in needs) else 0,
        )

    def _needed(self, dependency: Dependency, scope: Scope, provider: Provider) -> Resource:
        name = _name(provider)
        if scope == "process" and dependency.scope == "job":
            needed = _name(dependency.provider)
            raise InvalidOption(
                f"{name}() makes a resource for the whole process, and cannot take {needed}(), which is made for each "
                f'job; write ph.depends({needed}, scope="process") there'
            )
        return self.resource(dependency, taken_by=provider)

    def _is_context(self, parameter: Parameter, code: Callable[..., object]) -> bool:
        if parameter.annotation is Parameter.empty:
            return parameter.name == "ctx"
        try:
            meant = resolved(parameter.annotation, code)
        except Exception:  # imported for type checkers alone
            return self._context_type.__name__ in names_of(parameter.annotation)
        kinds = [get_origin(member) or member for member in members_of(meant)]
        return any(isinstance(kind, type) and issubclass(kind, self._context_type) for kind in kinds)


def _in_annotation(parameter: Parameter, function: Callable[..., object], *, is_marked: bool) -> list[Dependency]:
    annotation = parameter.annotation
    if annotation is Parameter.empty or isinstance(annotation, type):
        return []
    try:
        meant = resolved(annotation, function)
    except Exception as error:  # a name that is defined later, or for type checkers alone
        if "depends(" in str(annotation) and not is_marked:
            raise InvalidOption(
                f"{_name(function)}() takes {parameter.name!r} as a resource, but its annotation cannot be read "
                f"({error}); define or import what it names above the function"
            ) from None
        return []
    return [mark for mark in _metadata(meant) if isinstance(mark, Dependency)]


def _metadata(annotation: Any) -> tuple[object, ...]:  # noqa: ANN401 - an annotation can be any object
    if type(get_origin(annotation) or annotation).__name__ == "TypeAliasType":
        return _metadata(meaning_of_alias(annotation))
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _code_of(provider: Callable[..., Any]) -> Callable[..., object]:
    """Return the function whose annotations are those of the provider."""
    return provider.__init__ if isinstance(provider, type) else provider  # type: ignore[misc]  # read, not called


def _called(provider: object) -> object:
    """Return the function that a call runs, to see whether that is a generator."""
    if isinstance(provider, type | functools.partial) or inspect.isroutine(provider):
        return cast("object", provider)
    return inspect.getattr_static(type(provider), "__call__")


def _hashable(provider: Provider) -> Provider:
    try:
        hash(provider)
    except TypeError:
        raise InvalidOption(
            f"{_name(provider)} cannot be a provider, because it has no hash; wrap it in a def"
        ) from None
    return provider


def _name(provider: object) -> str:
    name = getattr(provider, "__qualname__", None) or getattr(provider, "__name__", None) or repr(provider)
    return str(name).rpartition("<locals>.")[2]
