"""Middleware: generator functions that run around a job, or around a call that enqueues.

The part before the `yield` runs first, the rest last; an error of the job or call is raised at the `yield`. This module
checks middleware at its declaration, and runs its two halves; the job or call itself is elsewhere.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import msgspec

from posthorse.errors import InvalidCall, InvalidOption, OutcomeUnknown, StoreUnreachable
from posthorse.rules.metadata import Metadata, checked_metadata
from posthorse.rules.options.checks import checked_tags
from posthorse.rules.steering import Steering, leaves
from posthorse.rules.values.type_mismatch import short

T = TypeVar("T")
log = logging.getLogger("posthorse.middleware")


@dataclass(frozen=True)
class RunningAttempt:
    """The attempt that a middleware runs around. attempt: counts from 1.

    metadata: that of the job, for reading.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    attempt: int
    is_async: bool
    metadata: Metadata
    _named: Callable[[], Mapping[str, object]] = field(repr=False, compare=False)

    @cached_property
    def arguments(self) -> Mapping[str, object]:
        """The arguments of the job by name, defaults included: a copy, whose changes the job does not see."""
        return self._named()


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is about to be enqueued, as a middleware of `app.around_enqueue` sees it."""

    kind: str
    queue: str
    tenant: str | None
    tags: tuple[str, ...]
    metadata: Metadata = {}

    def with_metadata(self, **entries: object) -> Submission:
        """Return the same with these entries in its metadata, beside those that it has. Raises InvalidOption."""
        return msgspec.structs.replace(self, metadata=checked_metadata({**self.metadata, **entries}))

    def tagged(self, *tags: str) -> Submission:
        """Return the same with more tags; those that it has are not repeated. Raises InvalidOption."""
        return msgspec.structs.replace(self, tags=checked_tags(tuple(dict.fromkeys((*self.tags, *tags)))))


class Layer(msgspec.Struct, frozen=True):
    """A middleware around jobs."""

    function: Callable[[RunningAttempt], object]
    is_async: bool
    """Whether it is for async jobs only, and may await."""


AroundJob = Callable[[RunningAttempt], object]
AroundEnqueue = Callable[[Sequence[Submission]], Iterator[Sequence[Submission] | None]]


class EnqueueLayer(msgspec.Struct, frozen=True):
    """A middleware around calls that enqueue. kind: the only one whose jobs it receives; None for all."""

    function: AroundEnqueue
    kind: str | None = None


class Middleware:
    """The middleware of an application and of its kinds, from the outermost to the innermost."""

    def __init__(self) -> None:
        self._around: tuple[Layer, ...] = ()
        self._around_kinds: dict[str, tuple[Layer, ...]] = {}
        self.around_enqueue: tuple[EnqueueLayer, ...] = ()

    def around(self, kind: str) -> tuple[Layer, ...]:
        """Return the layers around a job of a kind: those of the application, and inside them those of the kind."""
        if not self._around_kinds:
            return self._around
        return (*self._around, *self._around_kinds.get(kind, ()))

    def is_around_enqueue(self, kind: str) -> bool:
        """Return whether a call that enqueues a job of that kind passes any middleware."""
        return any(layer.kind in (None, kind) for layer in self.around_enqueue)

    def add_around(self, function: AroundJob, kind: str | None = None) -> None:
        """Add a generator function, plain or async, for all jobs or for those of a kind. Raises InvalidOption."""
        layer = layer_around(function)
        if kind is None:
            self._around = (*self._around, layer)
        else:
            self._around_kinds[kind] = (*self._around_kinds.get(kind, ()), layer)

    def add_around_enqueue(self, function: AroundEnqueue, kind: str | None = None) -> None:
        """Add a plain generator function, for all jobs or for those of a kind. Raises InvalidOption."""
        check_around_enqueue(function)
        self.around_enqueue = (*self.around_enqueue, EnqueueLayer(function, kind))

    def remove(self, kind: str) -> None:
        """Take out the layers of a kind."""
        self._around_kinds.pop(kind, None)
        self.around_enqueue = tuple(layer for layer in self.around_enqueue if layer.kind != kind)


def layer_around(function: AroundJob) -> Layer:
    """Make a layer of a generator function. Raises InvalidOption."""
    is_async = inspect.isasyncgenfunction(function)
    if not is_async and not inspect.isgeneratorfunction(function):
        raise _no_generator("around", "each job", "job", function)
    _check_takes_one("around", "the attempt", function)
    return Layer(function, is_async)


def check_around_enqueue(function: AroundEnqueue) -> None:
    """Check a middleware around calls that enqueue. Raises InvalidOption."""
    if not inspect.isgeneratorfunction(function):
        raise _no_generator("around_enqueue", "each call that enqueues", "jobs", function)
    _check_takes_one("around_enqueue", "the jobs", function)


class MiddlewareRun(Generic[T]):
    """One run of a middleware around one job or call: two halves, with that between them."""

    what = "middleware"
    remedy = "raise an error to refuse, else yield once"
    once = "yielded more than once; what it is around runs once"

    def __init__(self, function: Callable[..., object], subject: object) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        self._steps = cast("Any", function(subject))

    def enter(self) -> T:
        """Run its first half; return what it yields. Raises what it raises."""
        try:
            yielded: T = next(self._steps)
        except StopIteration:
            raise self._never_yielded() from None
        return yielded

    async def aenter(self) -> T:
        """Do as `enter`, for an async generator."""
        try:
            yielded: T = await anext(self._steps)
        except StopAsyncIteration:
            raise self._never_yielded() from None
        return yielded

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Run its second half after what it is around raised that error, or none; return the error that propagates."""
        trace = None if error is None else error.__traceback__
        try:
            next(self._steps) if error is None else self._steps.throw(error)
        except StopIteration:
            return _as_it_was(error, trace)
        except BaseException as other:
            return self._after(error, other, trace)
        self._steps.close()
        return _as_it_was(error, trace) or self._yielded_twice()

    async def aleave(self, error: BaseException | None) -> BaseException | None:
        """Do as `leave`, for an async generator."""
        trace = None if error is None else error.__traceback__
        try:
            await (anext(self._steps) if error is None else self._steps.athrow(error))
        except StopAsyncIteration:
            return _as_it_was(error, trace)
        except BaseException as other:
            return self._after(error, other, trace)
        await self._steps.aclose()
        return _as_it_was(error, trace) or self._yielded_twice()

    def _after(self, error: BaseException | None, other: BaseException, trace: TracebackType | None) -> BaseException:
        if error is None:
            return other
        # Python turns a StopIteration that passes through a generator into a RuntimeError.
        if other is error or (isinstance(other, RuntimeError) and other.__cause__ is error):
            return error.with_traceback(trace)
        if is_steering(error):
            log.error(
                "%s %s raised %s while %s passed, which counts; what it raised is dropped",
                self.what,
                self._name,
                short(other),
                short(error),
                exc_info=other,
            )
            return error.with_traceback(trace)
        return other

    def _never_yielded(self) -> InvalidCall:
        return InvalidCall(f"{self.what} {self._name}() ended without a yield; {self.remedy}")

    def _yielded_twice(self) -> InvalidCall:
        return InvalidCall(f"{self.what} {self._name}() {self.once}")


class ResourceRun(MiddlewareRun[T]):
    """One run of a provider that is a generator: it yields a resource, and cleans up after what uses it."""

    what = "provider"
    remedy = "it yields the resource once"
    once = "must yield once, but yielded again; what comes after its yield cleans up"

    def __init__(self, steps: object, *, name: str) -> None:
        self._name = name
        self._steps = cast("Any", steps)


def _as_it_was(error: BaseException | None, trace: TracebackType | None) -> BaseException | None:
    """Take the frames of the middleware out of the traceback again: they say nothing about the job."""
    return None if error is None else error.with_traceback(trace)


def is_steering(error: BaseException) -> bool:
    """Return True if it is not a failure of the code: a stop, a cancellation, a snooze, or a store that went away."""
    return any(
        not isinstance(part, Exception) or isinstance(part, Steering | StoreUnreachable | OutcomeUnknown)
        for part in leaves(error)
    )


def changed_by(before: Sequence[Submission], yielded: object) -> Sequence[Submission]:
    """Apply what a middleware yielded to the jobs. Raises InvalidOption for all but other tags and metadata."""
    if yielded is None:
        return before
    described = short(yielded)
    after = cast("Sequence[object]", yielded) if isinstance(yielded, list | tuple) else ()
    fits = len(after) == len(before) and all(
        isinstance(new, Submission) and msgspec.structs.replace(new, tags=old.tags, metadata=old.metadata) == old
        for old, new in zip(before, after, strict=False)
    )
    if not fits:
        raise InvalidOption(
            f"a middleware of around_enqueue yielded {described}; it yields nothing, or the same jobs in the "
            "same order with other tags or metadata: [job.tagged(…) for job in jobs]"
        )
    for job in cast("Sequence[Submission]", after):
        checked_tags(job.tags)
        checked_metadata(job.metadata)
    return cast("Sequence[Submission]", after)


def _no_generator(decorator: str, what: str, subject: str, function: object) -> InvalidOption:
    return InvalidOption(
        f"{decorator} needs a generator function that yields once around {what}, not {short(function)}; write "
        f"def timed({subject}): …; yield; …"
    )


def _check_takes_one(decorator: str, subject: str, function: Callable[..., object]) -> None:
    try:
        inspect.signature(function).bind(object())
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise InvalidOption(f"{decorator}: {name}() is called with {subject} alone, and cannot be: {error}") from None
