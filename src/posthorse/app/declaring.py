"""The result of `@app.job(…)` before it is applied to the function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from posthorse.app.kind import JobFunction
from posthorse.rules.job import checked_name
from posthorse.rules.registry import make_kind_options, register
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

P = ParamSpec("P")
R = TypeVar("R")


class JobDecorator:
    """Make the function that it is applied to a kind of job."""

    def __init__(self, app: Posthorse, options: Mapping[str, object]) -> None:
        self._app = app
        given = dict(options)
        kind = given.pop("kind", None)
        self._kind = None if kind is None else checked_name(kind, what="kind")
        self._options = make_kind_options(given)

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> JobFunction[P, R, Concatenate[Context, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> JobFunction[P, R, P, R]: ...

    def __call__(self, function: Callable[..., object], /) -> object:
        """Register the function."""
        registered = register(function, kind=self._kind, options=self._options, context_type=Context)
        self._app.registry.add(registered)
        made: JobFunction[..., object, ..., object] = JobFunction(self._app, registered, function)
        return made
