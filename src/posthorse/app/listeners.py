"""Declaring listeners: checks what `app.listen(…)` was given. The emitter (`rules/emitter`) calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from posthorse.errors import InvalidOption
from posthorse.rules.condition_events import Condition, DeadLettersGrew
from posthorse.rules.events import Heard
from posthorse.rules.values.type_mismatch import short

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

E = TypeVar("E", bound=Heard)
S = TypeVar("S")

EVENTS = get_args(Heard)
CONDITIONS = (DeadLettersGrew, *get_args(Condition))
NAMES = ", ".join(f"ph.events.{event.__name__}" for event in EVENTS)


class Listening(Generic[E]):
    """The result of `@app.listen(…)` before it is applied to the function."""

    def __init__(self, app: Posthorse, events: Sequence[type[Any]]) -> None:
        if not events:
            raise InvalidOption(f"app.listen() needs the events to listen to; they are {NAMES}")
        for event in events:
            if event in CONDITIONS:
                raise InvalidOption(
                    f"ph.events.{event.__name__} is found by one worker for all, and handed over as a job; write "
                    f"@app.on(ph.events.{event.__name__})"
                )
            if event not in EVENTS:
                raise InvalidOption(f"app.listen() cannot listen to {short(event)}; the events are {NAMES}")
        self._app = app
        self._events: Sequence[type[E]] = events

    def __call__(self, function: Callable[[E], S], /) -> Callable[[E], S]:
        """Register the function, and return it unchanged."""
        if not callable(function):
            raise InvalidOption(f"app.listen() needs a function that takes an event, not {short(function)}")
        name = getattr(function, "__qualname__", repr(function))
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise InvalidOption(
                f"{name}() cannot listen: a listener is called and returns, and nothing would await or iterate what "
                "this one gives; make it a plain function that hands the event on, to a queue for example"
            )
        _check_takes_one(function, name)
        self._app.store.emitter.subscribe(function, *self._events)
        return function


def _check_takes_one(function: Callable[..., object], name: str) -> None:
    try:
        inspect.signature(function).bind(object())
    except ValueError:
        return  # some that are built in do not tell
    except TypeError as error:
        raise InvalidOption(f"{name}() is called with the event alone, and cannot be: {error}") from None
