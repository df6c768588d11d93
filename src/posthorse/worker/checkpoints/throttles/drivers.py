"""How a loop waits, asks and takes tokens, in a thread or in a coroutine: each step is done, or gives what to await."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import wait
from typing import NamedTuple, Protocol, TypeVar, cast

from posthorse.rules.steering import Steering
from posthorse.rules.throttle import ThrottleFunction
from posthorse.store.base import Operation
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.throttles.measuring import AwaitedReading

T = TypeVar("T")


class FunctionFailed(NamedTuple):
    """What a function raised instead of an answer."""

    error: Exception


class WaitCalls(Protocol):
    """The steps of a wait. Each method returns its result, or an awaitable of it."""

    def sleep(self, seconds: float, /) -> object: ...
    def call(self, function: ThrottleFunction, /) -> object: ...
    def write(self, operation: Operation[object], /) -> object: ...
    def settle(self, awaited: Sequence[AwaitedReading], /) -> object: ...


class SyncWaiting:
    """The steps of a wait in a thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def sleep(self, seconds: float) -> None:
        self._journal.stop.wait(seconds)

    def call(self, function: ThrottleFunction) -> object:
        try:
            answer = function()
            # The loop of the worker may be busy; a coroutine of a plain job has a loop of its own.
            return (
                asyncio.run(cast("Coroutine[object, object, object]", answer))
                if inspect.iscoroutine(answer)
                else answer
            )
        except Steering:
            raise
        except Exception as error:
            return FunctionFailed(error)

    def write(self, operation: Operation[T]) -> T:
        return self._journal.run(operation)

    def settle(self, awaited: Sequence[AwaitedReading]) -> None:
        wait([each.done for each in awaited], timeout=max(each.seconds for each in awaited))


class AsyncWaiting:
    """The steps of a wait in a coroutine."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def sleep(self, seconds: float) -> Awaitable[None]:
        return self._journal.stop.await_(seconds)

    async def call(self, function: ThrottleFunction) -> object:
        try:
            if inspect.iscoroutinefunction(function):
                return await function()
            answer = await asyncio.to_thread(function)  # it may block
            return await answer if inspect.isawaitable(answer) else answer
        except Steering:
            raise
        except Exception as error:
            return FunctionFailed(error)

    def write(self, operation: Operation[T]) -> Awaitable[T]:
        return self._journal.arun(operation)

    async def settle(self, awaited: Sequence[AwaitedReading]) -> None:
        futures = [asyncio.wrap_future(each.done) for each in awaited]
        await asyncio.wait(futures, timeout=max(each.seconds for each in awaited))
