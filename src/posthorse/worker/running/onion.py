"""The onion: the middleware around one attempt, entered from the outermost on, left from the innermost on.

A plain middleware runs where the job's code runs: in its thread, or on the loop. An async middleware runs around async
jobs only. An error of the job goes on whatever a middleware does, unless the middleware raises another error in its
place; a stop, a snooze and the like go on in any case (`rules/middleware`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from posthorse.rules.job import Lane
from posthorse.rules.middleware import Layer, MiddlewareRun, RunningAttempt
from posthorse.rules.registry import Registered
from posthorse.store.operations.claim import Claimed

T = TypeVar("T")


class AttemptParts(Protocol):
    """A job as it was claimed, and its code: what the middleware's view of an attempt is made of."""

    claimed: Claimed
    """The job as it was claimed; its arguments are unpacked when it starts."""

    @property
    def kind(self) -> Registered:
        """The kind, with its code."""
        ...

    @property
    def lane(self) -> Lane:
        """The lane in which it waited."""
        ...


class Onion:
    """The middleware around one attempt."""

    def __init__(self, layers: Sequence[Layer], attempt: AttemptParts) -> None:
        self._layers = layers
        self._view = _view_of(attempt)
        self._entered: list[tuple[MiddlewareRun[object], bool]] = []

    def run(self, call: Callable[[], object]) -> object:
        """Call the code of a plain job in its thread. If it returns an awaitable, the caller calls `leave` later."""
        error, value = None, None
        try:
            for layer in self._layers:
                if not layer.is_async:
                    run = MiddlewareRun[object](layer.function, self._view)
                    run.enter()
                    self._entered.append((run, False))
            value = call()
            if hasattr(type(value), "__await__"):
                return value
        except BaseException as raised:
            error = raised
        try:
            self.leave(error)
        finally:
            del error  # its traceback refers to this frame, which must not refer back to it
        return value

    def leave(self, error: BaseException | None) -> None:
        """Leave the middleware after the code raised `error`, or None. Raises the error that goes on."""
        try:
            while self._entered:
                run, _ = self._entered.pop()
                error = run.leave(error)
            if error is not None:
                raise error
        finally:
            del error

    async def arun(self, call: Callable[[], Awaitable[object]]) -> object:
        """Await the code of an async job."""
        error, value = None, None
        try:
            for layer in self._layers:
                run = MiddlewareRun[object](layer.function, self._view)
                await run.aenter() if layer.is_async else run.enter()
                self._entered.append((run, layer.is_async))
            value = await call()
        except GeneratorExit:  # the loop was closed: nothing can be awaited any more
            raise
        except BaseException as raised:
            error = raised
        try:
            while self._entered:
                run, is_async = self._entered.pop()
                error = await run.aleave(error) if is_async else run.leave(error)
            if error is not None:
                raise error
        finally:
            del error
        return value


def _view_of(attempt: AttemptParts) -> RunningAttempt:
    claimed, lane, kind = attempt.claimed, attempt.lane, attempt.kind
    text = claimed.arguments
    assert text is not None, "long ones are brought before a job begins"
    return RunningAttempt(
        job=claimed.job,
        kind=lane.kind,
        queue=lane.queue,
        tenant=lane.tenant or None,
        attempt=claimed.errors + 1,
        is_async=kind.is_async,
        _named=lambda: kind.signature.named(text),
    )
