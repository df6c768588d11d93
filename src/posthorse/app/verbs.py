"""Verbs: the calls on jobs, queues and schedules, each written once for threads and coroutines.

A verb is a generator. It yields steps, receives the result of each, and returns its own result. A step is one call of
the layer below that takes time, in a blocking and an awaited form; a driver chooses one of them. `verb` turns the
generator into the method that blocks, and `twin` turns that into the method to be awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    cast,
)

from posthorse.store.base import Operation
from posthorse.store.blocking import refuse_in_loop, warn_in_loop

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TimedCall(NamedTuple):
    """One call that takes time, in both forms, with its arguments."""

    blocking: Callable[..., object]
    awaited: Callable[..., Awaitable[object]]
    arguments: tuple[object, ...]


Verb: TypeAlias = Generator[TimedCall, object, T]


class AppHandle(Protocol):
    """What has verbs: it holds an application."""

    @property
    def _app(self) -> Posthorse: ...


S = TypeVar("S", bound=AppHandle)


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────


def step(blocking: Callable[[*Ts], T], awaited: Callable[[*Ts], Awaitable[T]], /, *arguments: *Ts) -> Verb[T]:
    """Make one call of the layer below."""
    return cast("T", (yield TimedCall(blocking, awaited, arguments)))


def commit(app: Posthorse, operation: Operation[T]) -> Verb[T]:
    """Run an operation: committed when this returns, or with the open transaction."""
    return step(app.store.run, app.store.arun, operation)


def look_up(app: Posthorse, operation: Operation[T]) -> Verb[T]:
    """Run an operation that reads a few rows."""
    return step(app.store.read, app.store.aread, operation)


def look_over(app: Posthorse, operation: Operation[T]) -> Verb[T]:
    """Run an operation that reads many rows. Raises TookTooLong."""
    return step(app.store.look, app.store.alook, operation)


def wait_for_end(app: Posthorse, jobs: Collection[str], seconds: float) -> Verb[Collection[str]]:
    """Wait until some of the jobs may be over, and return these; none if the time is over before."""
    return step(app.store.wait_for_end, app.store.await_end, jobs, seconds)


def sleep(seconds: float) -> Verb[None]:
    """Wait while jobs may do what the verb waits for."""
    yield TimedCall(_sleep, asyncio.sleep, (seconds,))


def _sleep(seconds: float) -> None:
    refuse_in_loop("this call", "await its twin with an `a` in front")
    time.sleep(seconds)


# ── drivers ──────────────────────────────────────────────────────────────────────────────────────────


def drive(steps: Verb[T]) -> T:
    """Run a verb to its end in this thread."""
    try:
        wanted = next(steps)
        while True:
            try:
                answer = wanted.blocking(*wanted.arguments)
            except Exception as error:
                wanted = steps.throw(error)  # a verb may have a fallback
            else:
                wanted = steps.send(answer)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        steps.close()


async def adrive(steps: Verb[T]) -> T:
    """Run a verb to its end in this coroutine."""
    try:
        wanted = next(steps)
        while True:
            try:
                answer = await wanted.awaited(*wanted.arguments)
            except Exception as error:
                wanted = steps.throw(error)
            else:
                wanted = steps.send(answer)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        steps.close()


# ── methods ──────────────────────────────────────────────────────────────────────────────────────────


def verb(steps: Callable[Concatenate[S, P], Verb[T]]) -> Callable[Concatenate[S, P], T]:
    """Make the method that blocks. Inside a running event loop it warns."""

    call, instead = _in_words(steps)

    @wraps(_as_users_see_it(steps))
    def blocking(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        store = self._app.store  # pyright: ignore[reportPrivateUsage]  # a verb is a method of its handle
        warn_in_loop(store, call, instead)
        return drive(steps(self, *args, **kwargs))

    return blocking


def waiting_verb(steps: Callable[Concatenate[S, P], Verb[T]]) -> Callable[Concatenate[S, P], T]:
    """Make the method that blocks, for a verb that waits for jobs. Inside a running loop it raises InvalidCall."""

    call, instead = _in_words(steps)

    @wraps(_as_users_see_it(steps))
    def blocking(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        refuse_in_loop(call, instead)
        return drive(steps(self, *args, **kwargs))

    return blocking


def twin(blocking: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make the method to be awaited, from the same steps; its name has an `a` in front."""
    steps = cast("Callable[Concatenate[S, P], Verb[T]]", vars(blocking)["__wrapped__"])

    @wraps(blocking)
    async def awaited(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await adrive(steps(self, *args, **kwargs))

    awaited.__name__ = f"a{blocking.__name__}"
    awaited.__qualname__ = blocking.__qualname__.removesuffix(blocking.__name__) + awaited.__name__
    return awaited


def _in_words(steps: Callable[P, Verb[T]]) -> tuple[str, str]:
    name = steps.__name__.removeprefix("_")  # of a part that the method of that name calls
    return f"{name}()", f"use `await ….a{name}()`"


def _as_users_see_it(steps: Callable[P, Verb[T]]) -> Callable[P, Verb[T]]:
    """Annotate the method with what it returns, because `inspect` and documentation read that."""
    returned: str = steps.__annotations__["return"]
    steps.__annotations__["return"] = returned.removeprefix("Verb[").removesuffix("]")
    return steps
