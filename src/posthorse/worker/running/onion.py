"""The onion: the middleware around one attempt, entered from the outermost on, left from the innermost on.

A plain middleware runs where the job's code runs: in its thread, or on the loop. An async middleware runs around async
jobs only. An error of the job goes on whatever a middleware does, unless the middleware raises another error in its
place; a stop, a snooze and the like go on in any case (`rules/middleware`). The resources of the job are the innermost
layers.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from posthorse.rules.job import Lane, Options
from posthorse.rules.middleware import Layer, MiddlewareRun, RunningAttempt
from posthorse.rules.registry import Registered
from posthorse.store.operations.claim import Claimed
from posthorse.worker.base.event_loop import wait_on

T = TypeVar("T")


class AttemptParts(Protocol):
    """A job as it was claimed, and its code: what the middleware's view of an attempt is made of."""

    claimed: Claimed
    """The job as it was claimed; its arguments are unpacked when it starts."""

    options: Options
    """The options that it was enqueued with."""

    @property
    def kind(self) -> Registered:
        """The kind, with its code."""
        ...

    @property
    def lane(self) -> Lane:
        """The lane in which it waited."""
        ...


class AsyncLayer(Protocol):
    """What is entered and left on the loop."""

    async def aenter(self) -> object:
        """Enter it; return what it yields."""
        ...

    async def aleave(self, error: BaseException | None) -> BaseException | None:
        """Leave it after that error, or none; return the error that goes on."""
        ...


class Onion:
    """The middleware around one attempt. `loop`: that of the worker, on which a thread enters async resources."""

    def __init__(self, layers: Sequence[Layer], attempt: AttemptParts, loop: asyncio.AbstractEventLoop) -> None:
        self._layers = layers
        self._attempt = attempt
        self.loop = loop
        self._entered: list[MiddlewareRun[object] | tuple[AsyncLayer]] = []

    def enter(self, run: MiddlewareRun[object]) -> object:
        """Enter one more layer here; return what it yields."""
        yielded = run.enter()
        self._entered.append(run)
        return yielded

    async def aenter(self, run: AsyncLayer) -> object:
        """Enter one more layer that is async."""
        yielded = await run.aenter()
        self._entered.append((run,))
        return yielded

    def run(self, call: Callable[[], object]) -> object:
        """Call the code of a plain job in its thread. If it returns an awaitable, the caller calls `aleave` later."""
        error, value = None, None
        try:
            if self._layers:
                view = _view_of(self._attempt)
                for layer in self._layers:
                    if not layer.is_async:
                        self.enter(MiddlewareRun(layer.function, view))
            value = call()
            if hasattr(type(value), "__await__"):
                return value
        except BaseException as raised:
            error = raised
        try:
            while self._entered:
                run = self._entered.pop()
                if isinstance(run, tuple):
                    error = wait_on(self.loop, run[0].aleave(error))
                else:
                    error = run.leave(error)
            if error is not None:
                raise error
        finally:
            del error  # its traceback refers to this frame, which must not refer back to it
        return value

    async def aleave(self, error: BaseException | None, own: contextvars.Context | None = None) -> None:
        """Leave all layers on the loop after the code raised `error`, or None. Raises the error that goes on.

        own: the context in which plain layers were entered, if that is not the current one.
        """
        try:
            while self._entered:
                run = self._entered.pop()
                if isinstance(run, tuple):
                    error = await run[0].aleave(error)
                else:
                    error = run.leave(error) if own is None else own.run(run.leave, error)
            if error is not None:
                raise error
        finally:
            del error

    async def arun(self, call: Callable[[], Awaitable[object]]) -> object:
        """Await the code of an async job."""
        error, value = None, None
        try:
            if self._layers:
                view = _view_of(self._attempt)
                for layer in self._layers:
                    run = MiddlewareRun[object](layer.function, view)
                    await self.aenter(run) if layer.is_async else self.enter(run)
            value = await call()
        except GeneratorExit:  # the loop was closed: nothing can be awaited any more
            raise
        except BaseException as raised:
            error = raised
        try:
            await self.aleave(error)
        finally:
            del error
        return value


def _view_of(attempt: AttemptParts) -> RunningAttempt:
    claimed, lane, kind, options = attempt.claimed, attempt.lane, attempt.kind, attempt.options
    text = claimed.arguments
    assert text is not None, "long ones are brought before a job begins"
    return RunningAttempt(
        job=claimed.job,
        kind=lane.kind,
        queue=lane.queue,
        tenant=options.tenant or lane.tenant or None,
        attempt=claimed.errors + 1,
        is_async=kind.is_async,
        metadata=options.metadata or {},
        _named=lambda: kind.signature.named(text),
    )
