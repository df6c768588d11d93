"""The marker of a resource: a parameter that a worker fills with what a provider makes, such as a database session.

This module says what a user may write; `rules/resources` reads it, and the worker makes resources.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncContextDecorator, ContextDecorator
from typing import Any, Literal, TypeVar, overload

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

T = TypeVar("T")

Scope = Literal["job", "process"]


class Dependency:
    """What `ph.depends` returns: a parameter that has it as its default, or in `Annotated`, is a resource."""

    __slots__ = ("provider", "scope")
    scope: Scope

    def __init__(self, provider: Callable[..., object], scope: Scope) -> None:
        self.provider = provider
        self.scope = scope

    def __repr__(self) -> str:
        scope = "" if self.scope == "job" else f", scope={self.scope!r}"
        return f"depends({getattr(self.provider, '__qualname__', repr(self.provider))}{scope})"


@overload
def depends(provider: Callable[..., AbstractAsyncContextManager[T]], /, *, scope: Scope = "job") -> T: ...
@overload
def depends(provider: Callable[..., AbstractContextManager[T]], /, *, scope: Scope = "job") -> T: ...
@overload
def depends(provider: Callable[..., AsyncIterator[T]], /, *, scope: Scope = "job") -> T: ...
@overload
def depends(provider: Callable[..., Iterator[T]], /, *, scope: Scope = "job") -> T: ...
@overload
def depends(
    provider: Callable[..., Coroutine[Any, Any, AbstractAsyncContextManager[T]]], /, *, scope: Scope = "job"
) -> T: ...
@overload
def depends(provider: Callable[..., Coroutine[Any, Any, T]], /, *, scope: Scope = "job") -> T: ...
@overload
def depends(provider: Callable[..., T], /, *, scope: Scope = "job") -> T: ...


def depends(provider: Callable[..., Any], /, *, scope: Scope = "job") -> Any:
    """Make a parameter a resource that the worker fills: `def report(week: int, db: Session = ph.depends(session))`.

    It is not an argument of the job: `report.enqueue(47)`. Write it as the default, or in the annotation:
    `Annotated[Session, ph.depends(session)]`.

    provider: a function or class that returns the resource, or a generator function that yields it once and cleans up
    after its `yield`; either may be async. If it returns a context manager, that is entered, and the job gets what it
    enters. A provider may itself take resources, and a `ph.Context`.
    scope: `"job"`: one for each attempt, however many parameters name it; `"process"`: one for all jobs of a process,
    made when the first job needs it and closed before the process ends.

    The clean-up runs after success, an error, a cancellation, a timeout and a stop at a checkpoint, in reverse order;
    a generator sees the error at its `yield`. Raises InvalidOption.
    """
    check_provider(provider, "ph.depends")
    if scope not in ("job", "process"):
        raise InvalidOption(f'scope is {short(scope)}; it must be "job" or "process"')
    return Dependency(provider, scope)


def check_provider(given: object, where: str) -> None:
    """Raise InvalidOption if this is what a provider makes, and not a provider. `where` takes it: `ph.depends`."""
    name = _name_of_called(given)
    if name is not None:
        raise InvalidOption(
            f"{where} takes a function or class that makes the resource, and {short(given)} is what one call of {name} "
            f"made, which can be used once; the worker calls {name} for each job, so write {name} without calling it, "
            f"or `functools.partial({name}, …)` if it needs arguments"
        )
    if not callable(given):
        raise InvalidOption(
            f"{where} takes a function or class that makes the resource, not {short(given)}; the worker calls it for "
            "each job, so pass the function or class itself, without calling it"
        )


def _name_of_called(given: object) -> str | None:
    """Return the name of the function whose call made this; None if it is a function, a class or another object."""
    if inspect.isgenerator(given) or inspect.isasyncgen(given):
        return given.__name__
    if inspect.iscoroutine(given):
        given.close()  # else Python warns, far from here, that it was never awaited
        return given.__name__
    if isinstance(given, ContextDecorator | AsyncContextDecorator):  # which can be called, to decorate a function
        made_by = getattr(given, "func", None)  # of @contextmanager and @asynccontextmanager
        return str(getattr(made_by, "__name__", type(given).__name__))
    return None
