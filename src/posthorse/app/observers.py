"""Observers: functions that are notified of events.

Each is a kind of job: it is notified durably, retried, and becomes a dead letter if all attempts fail. This module
checks the options of `app.on(…)` and registers the function. The look for dead letters is in
`maintenance/chores/dead_letters`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, overload

import msgspec

from posthorse.app.job_function import JobFunction
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.annotations import resolved
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.durations import Duration
from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.growth import OBSERVERS_QUEUE, Observer, make_alarm_rule
from posthorse.rules.job import Lane, NewJob, checked_name
from posthorse.rules.registry import Registered, make_kind_options, register
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

E = TypeVar("E")
S = TypeVar("S")

PLACES = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
OPEN = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class ObserverDecorator(Generic[E]):
    """The result of `@app.on(…)` before it is applied to the function.

    enter: enters the observer, given its kind, the lane of its jobs, and how to make a job from an event.
    """

    def __init__(
        self,
        app: Posthorse,
        event: type[E],
        *,
        name: str | None,
        options: Mapping[str, object],
        enter: Callable[[str, Lane, Callable[[E], NewJob]], None],
    ) -> None:
        self._app = app
        self._event = event
        self._name = None if name is None else checked_name(name, what="name")
        self._options = make_kind_options({**options, "queue": OBSERVERS_QUEUE})
        self._enter = enter

    @overload
    def __call__(self, function: Callable[[Context, E], S], /) -> JobFunction[[E], object, [Context, E], S]: ...
    @overload
    def __call__(self, function: Callable[[E], S], /) -> JobFunction[[E], object, [E], S]: ...

    def __call__(self, function: Callable[..., object], /) -> object:
        """Register the function."""
        registered = register(function, kind=self._name, options=self._options, context_type=Context)
        whole = taking(self._event, registered, check=self._check_annotation)
        signature = Signature(whole, kind=registered.kind, context_type=Context)
        registered = msgspec.structs.replace(registered, signature=signature)
        self._app.registry.add(registered)
        kind: JobFunction[..., object, ..., object] = JobFunction(self._app, registered, function)

        def make(told: E) -> NewJob:
            return kind.bind(told).template

        self._enter(registered.kind, Lane(OBSERVERS_QUEUE, registered.kind, registered.options.priority), make)
        return kind

    def _check_annotation(self, annotation: object, parameter: str, kind: str) -> None:
        event = self._event
        is_open = annotation is Any or annotation is object
        if not is_open and annotation is not event and event not in get_args(annotation):
            raise InvalidOption(
                f"{kind}() takes {parameter!r} as {short(annotation)}, and is notified of "
                f"ph.events.{event.__name__}; annotate it with that, or not at all"
            )


def observing_dead_letters(
    app: Posthorse,
    *,
    queue: object,
    by: int | None,
    within: Duration | None,
    name: str | None,
    rest: Mapping[str, object],
    options: Mapping[str, object],
) -> ObserverDecorator[DeadLettersGrew]:
    """Return what observes dead letters. rest: what this event does not take. Raises InvalidOption."""
    refuse_rest(DeadLettersGrew, rest, takes="queue, by and within")
    rule = make_alarm_rule(
        name or "", by=10 if by is None else by, within="5m" if within is None else within, queue=queue
    )

    def enter(kind: str, lane: Lane, make: Callable[[DeadLettersGrew], NewJob]) -> None:
        app.registry.observers[kind] = Observer(msgspec.structs.replace(rule, name=kind), lane, make)

    return ObserverDecorator(app, DeadLettersGrew, name=name, options=options, enter=enter)


def refuse_rest(event: type[object], rest: Mapping[str, object], *, takes: str) -> None:
    """Raise InvalidOption if something was given that an event does not take."""
    for what, value in rest.items():
        if value is not None:
            raise InvalidOption(f"{what} does not go with ph.events.{event.__name__}, which takes {takes}")


def taking(
    event: object, registered: Registered, *, check: Callable[[object, str, str], None]
) -> Callable[..., object]:
    """Wrap the function so that it takes the event and nothing else, whatever its annotation.

    event: what it is given, as an annotation. check: refuses an annotation, given the names of parameter and kind.

    Raises InvalidOption if it cannot be called like that.
    """
    function, name = registered.function, registered.kind
    declared = inspect.signature(function)
    parameters = list(declared.parameters.values())
    place = 1 if registered.signature.wants_context else 0
    if len(parameters) <= place or parameters[place].kind not in PLACES:
        raise InvalidOption(f"{name}() takes no event; an observer is called with one: def {name}(event)")
    for other in parameters[place + 1 :]:
        if other.default is Parameter.empty and other.kind not in OPEN:
            raise InvalidOption(
                f"{name}() needs {other.name!r} as well, and an observer is called with the event alone; give "
                f"{other.name!r} a default"
            )
    _check(parameters[place], registered, check)
    parameters[place] = parameters[place].replace(annotation=event)

    @functools.wraps(function)
    def with_event(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    with_event.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    return with_event


def _check(parameter: Parameter, registered: Registered, check: Callable[[object, str, str], None]) -> None:
    if parameter.annotation is Parameter.empty:
        return
    try:
        annotation = resolved(parameter.annotation, registered.function)
    except Exception:
        return  # imported under `if TYPE_CHECKING:` only
    check(annotation, parameter.name, registered.kind)
