"""What a provider gave: a value, or a layer around what uses the value.

What a provider yields is handed over as it is. What it returns is entered if it is a context manager.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import NamedTuple, cast

from posthorse.rules.middleware import ResourceRun
from posthorse.rules.resources import Resource
from posthorse.worker.checkpoints.context import Context


class ResourceLayer(NamedTuple):
    """A provider that cleans up."""

    run: ResourceRun[object]
    is_async: bool


def arguments_of(resource: Resource, values: Mapping[Resource, object], context: Context | None) -> dict[str, object]:
    """Return what the provider is called with."""
    arguments = {name: values[needed] for name, needed in resource.needs}
    if resource.context is not None:
        arguments[resource.context] = context
    return arguments


def layer_of(resource: Resource, value: object, *, prefers_async: bool) -> ResourceLayer | None:
    """Return the layer around what uses the value; None if the value itself is the resource.

    prefers_async: which side of a context manager is entered if it has both.
    """
    if resource.is_async_generator or resource.is_generator:
        return ResourceLayer(ResourceRun(value, name=resource.name), resource.is_async_generator)
    is_plain = isinstance(value, AbstractContextManager)
    if isinstance(value, AbstractAsyncContextManager) and (prefers_async or not is_plain):
        manager = cast("AbstractAsyncContextManager[object]", value)
        return ResourceLayer(ResourceRun(_awithin(manager), name=resource.name), True)
    if is_plain:
        return ResourceLayer(
            ResourceRun(_within(cast("AbstractContextManager[object]", value)), name=resource.name), False
        )
    return None


class TaskOfItsOwn:
    """A layer that is entered and left in one task, though callers in several tasks or threads ask for that."""

    def __init__(self, run: ResourceRun[object]) -> None:
        self._run = run
        self._entered: asyncio.Future[object]
        self._leaving: asyncio.Future[BaseException | None]
        self._left: BaseException | None = None
        self._is_within = False
        self._task: asyncio.Task[None]

    async def aenter(self) -> object:
        """Enter it; return what it yields. If the caller is cancelled, its second half runs before this ends."""
        loop = asyncio.get_running_loop()
        self._entered, self._leaving = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._live())
        try:
            return await self._entered
        except asyncio.CancelledError as error:
            self._leaving.set_result(error)
            if not self._is_within:  # else it is being left already, and must not be cancelled in that
                self._task.cancel()
            await asyncio.wait({self._task})
            self._left = None
            raise

    async def aleave(self, error: BaseException | None) -> BaseException | None:
        """Leave it; return the error that goes on."""
        self._leaving.set_result(error)
        try:
            await self._task
            return self._left
        finally:
            self._left = None

    async def _live(self) -> None:
        try:
            value = await self._run.aenter()
        except BaseException as error:
            if not self._entered.done():
                self._entered.set_exception(error)
            return
        self._is_within = True
        if not self._entered.done():  # else the caller was cancelled, and asks for the second half
            self._entered.set_result(value)
        self._left = await self._run.aleave(await self._leaving)


def _within(manager: AbstractContextManager[object]) -> Iterator[object]:
    with manager as value:
        yield value


async def _awithin(manager: AbstractAsyncContextManager[object]) -> AsyncIterator[object]:
    async with manager as value:
        yield value
