"""The decorators `@app.job` and `@bundle.job`, and the result of `@app.job(…)` before it is applied to the function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from posthorse.app.job_function import JobFunction
from posthorse.app.option_signatures import takes
from posthorse.rules.job import checked_name
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.registry import Registered, make_kind_options, register
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.option_types import JobOptions

P = ParamSpec("P")
R = TypeVar("R")


Declare = Callable[[Registered, Callable[..., object], bool], JobFunction[..., object, ..., object]]
"""Enter a kind and its function; the flag tells whether its options name a queue."""


class DeclaresJobs(ABC):
    """An application or a bundle: functions become kinds of jobs on it."""

    @overload
    def job(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def job(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> JobFunction[P, R, Concatenate[Context, P], R]: ...
    @overload
    def job(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> JobFunction[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> JobFunction[P, R, P, R]: ...
    @overload
    def job(self, /, **options: Unpack[JobOptions]) -> JobDecorator: ...

    @takes(OptionPlace.JOB)
    def job(self, function: Callable[..., object] | None = None, /, **options: Unpack[JobOptions]) -> object:
        """Make a function a kind of job: `@app.job`, or `@app.job(queue="mail", max_attempts=5)`.

        The result is a `Kind` that can still be called as the function. By default, the kind has the function's name.
        Jobs are stored under that name, so give `aliases` if you rename it. If the first parameter is a `ph.Context`,
        the worker passes it; it is not an argument of the job.

        Async functions run on the worker's event loop, others in its threads. With `isolation="process"` both run in a
        process of their own, which `kill_after` and `max_memory` can end. An error leads to another attempt unless it
        is in `give_up_on`, or `retry_on` is given and does not contain it.

        Raises DuplicateKind if the name is taken, and InvalidOption, which names the option and the nearest name.
        """
        decorator = JobDecorator(self._declare, options)
        return decorator if function is None else decorator(function)

    @abstractmethod
    def _declare(
        self, registered: Registered, function: Callable[..., object], names_queue: bool
    ) -> JobFunction[..., object, ..., object]:
        """Enter a kind; see Declare."""


class JobDecorator:
    """Make the function that it is applied to a kind of job."""

    def __init__(self, declare: Declare, options: Mapping[str, object]) -> None:
        self._declare = declare
        given = dict(options)
        kind = given.pop("kind", None)
        self._kind = None if kind is None else checked_name(kind, what="kind")
        self._options = make_kind_options(given)
        self._names_queue = given.get("queue") is not None

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
        return self._declare(registered, function, self._names_queue)
