"""What `@app.job` returns: a kind that runs its function when it is called, and looks like that to other tools."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from posthorse.app.kind import Kind
from posthorse.app.pickling import is_found
from posthorse.app.surrounding import TakesMiddleware
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.annotations import attribute_of
from posthorse.rules.other_systems import no_attribute
from posthorse.rules.registry import Registered
from posthorse.rules.resources import check_given

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.rules.middleware import AroundEnqueue, AroundJob

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")


class JobFunction(Kind[P, R], TakesMiddleware, Generic[P, R, Q, S]):
    """A kind as the decorator returns it: when called, it runs the function. Q and S are the function's own types.

    For `inspect`, `typing` and `pickle` it looks like the function.
    """

    def __init__(self, app: Posthorse, registered: Registered, function: Callable[Q, S]) -> None:
        super().__init__(app, registered)
        self._look_like(function, registered)

    def _look_like(self, function: Callable[Q, S], registered: Registered) -> None:
        self.__wrapped__ = function
        self._resources = registered.resources
        self.__doc__ = function.__doc__
        self.__name__ = registered.function.__name__
        self.__qualname__ = registered.function.__qualname__
        self.__module__ = function.__module__
        if sys.version_info < (3, 14):  # earlier checks of typing may leave an empty one on Generic, which hides it
            self.__annotations__ = getattr(function, "__annotations__", {})

    if not TYPE_CHECKING:  # a type checker that saw it would accept misspelt methods

        def __getattr__(self, name: str) -> object:
            """Return other attributes of the function: its defaults, its code, what other decorators added."""
            if name != "__wrapped__":  # not set yet
                with suppress(AttributeError):
                    return attribute_of(self.__wrapped__, name)
            raise no_attribute(self, repr(self), name)

    def __reduce__(self) -> str | tuple[object, ...]:
        if is_found(self, self.__module__, self.__qualname__):
            return self.__qualname__
        return _function_again, (self._app, self.kind)

    def kind_in(self, app: Posthorse) -> JobFunction[P, R, Q, S]:
        """Return the kind that it is in an application; see `app.kind`. Raises InvalidOption."""
        if app is not self._app:
            raise InvalidOption(f"{self.kind!r} belongs to another application")
        return self

    def combine(self, function: Callable[[list[Any]], Any], /) -> Callable[[list[Any]], Any]:
        """Make the result of a job of its parts' results: `@weekly.combine` above `def total(parts): …`.

        A worker calls it once all parts are completed, with their results in the order of their ranges. It may be a
        coroutine function. Without one, the result of the job is that list, or None if all parts returned None. Raises
        InvalidOption.
        """
        self._app.registry.add_combiner(self.kind, function)
        return function

    def _add_around(self, function: AroundJob) -> None:
        self._app.registry.middleware.add_around(function, self.kind)

    def _add_around_enqueue(self, function: AroundEnqueue) -> None:
        self._app.registry.middleware.add_around_enqueue(function, self.kind)

    def __call__(self, /, *args: Q.args, **kwargs: Q.kwargs) -> S:
        """Run the function here and now, without a job. Pass its resources, because only a worker makes them."""
        if self._resources is not None:
            check_given(self._resources, self.__wrapped__, args, kwargs)
        return self.__wrapped__(*args, **kwargs)


def _function_again(app: Posthorse, kind: str) -> JobFunction[..., object, ..., object]:
    registered = app.registry[kind]
    return JobFunction(app, registered, registered.function)
