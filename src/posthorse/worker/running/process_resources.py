"""The resources of a process that runs jobs: each is made once, when the first job needs it, and closed at the end.

Async providers run on the loop, each in a task of its own; plain ones in threads of their own, because jobs on the loop
must not wait for them. A job that comes meanwhile waits for the same provider. If a provider fails, the next job that
needs its resource calls it again. What is being made when the worker ends is left as soon as it is there.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable
from typing import cast

from posthorse.errors import InvalidCall
from posthorse.rules.resources import Resource
from posthorse.worker.base.event_loop import wait_on
from posthorse.worker.base.unanswered_calls import comes_within, in_a_thread
from posthorse.worker.running.provided import ResourceLayer, TaskOfItsOwn, arguments_of, layer_of

log = logging.getLogger("posthorse.worker")

_NOTHING = object()


class ProcessResources:
    """The resources of one runner, embedded worker or child process; made inside its running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        """That of no job: a resource belongs to all of them."""
        self._made: dict[Resource, object] = {}
        self._making: dict[Resource, asyncio.Task[object]] = {}
        self._open: list[tuple[Resource, ResourceLayer | TaskOfItsOwn]] = []
        self._is_closed = False

    def get(self, resource: Resource) -> object:
        """Return the resource, in a thread of a job."""
        value = self._made.get(resource, _NOTHING)
        if value is _NOTHING:
            return wait_on(self._loop, self.aget(resource))
        return value

    async def aget(self, resource: Resource) -> object:
        """Return the resource, on the loop."""
        value = self._made.get(resource, _NOTHING)
        if value is not _NOTHING:
            return value
        if self._is_closed:
            raise _is_ending(resource)
        making = self._making.get(resource)
        if making is None:
            making = self._loop.create_task(self._make(resource), context=self._context.copy())
            self._making[resource] = making
            making.add_done_callback(lambda _: self._making.pop(resource))
        return await asyncio.shield(making)  # a job that is cancelled leaves it to the others

    async def close(self, *, each: float, within: float) -> None:
        """Close all that were made, the last one first; log what fails. `each` for one, `within` for all: seconds.

        Those that are being made are cancelled first, because they may use others.
        """
        self._is_closed = True
        until = self._loop.time() + within
        await self._stop_making(min(each, within))
        while self._open:
            resource, layer = self._open.pop()
            self._made.pop(resource, None)
            try:
                if not await comes_within(max(0.0, min(each, until - self._loop.time())), _left(layer)):
                    log.error("provider %s() did not clean up in time; the worker ends without it", resource.name)
            except Exception:
                log.exception("provider %s() failed to clean up", resource.name)

    async def _stop_making(self, seconds: float) -> None:
        making = dict(self._making)
        for task in making.values():
            task.cancel()
        if making:
            await asyncio.wait(making.values(), timeout=seconds)
        for resource, task in making.items():
            if not task.done():
                log.error("provider %s() did not end in time; the worker ends without it", resource.name)
            elif not task.cancelled():
                task.exception()  # for the jobs that wait for it; if there are none, asyncio must not warn of it

    async def _make(self, resource: Resource) -> object:
        try:
            layer, value = await self._entered(resource)
            if self._is_closed and layer is not None:
                await self._leave_at_once(resource, layer)
        except asyncio.CancelledError:
            if self._is_closed:
                raise _is_ending(resource) from None
            raise
        if self._is_closed:
            raise _is_ending(resource)
        if layer is not None:
            self._open.append((resource, layer))
        self._made[resource] = value
        return value

    async def _entered(self, resource: Resource) -> tuple[ResourceLayer | TaskOfItsOwn | None, object]:
        values = {needed: await self.aget(needed) for _, needed in resource.needs}
        arguments = arguments_of(resource, values, None)
        if resource.is_generator or resource.is_async_generator or inspect.iscoroutinefunction(resource.provider):
            value: object = resource.provider(**arguments)  # this runs nothing yet
        else:
            value = await in_a_thread(lambda: resource.provider(**arguments), name="posthorse-resource")
        if hasattr(type(value), "__await__"):
            value = await cast("Awaitable[object]", value)
        layer = layer_of(resource, value, prefers_async=True)
        if layer is not None and layer.is_async:
            held = TaskOfItsOwn(layer.run)
            return held, await held.aenter()
        if layer is not None:
            return layer, await self._entered_in_a_thread(resource, layer)
        return None, value

    async def _entered_in_a_thread(self, resource: Resource, layer: ResourceLayer) -> object:
        entering = asyncio.ensure_future(in_a_thread(layer.run.enter, name="posthorse-resource"))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:  # the thread goes on, and what it enters has to be left
            await entering
            await self._leave_at_once(resource, layer)
            raise

    async def _leave_at_once(self, resource: Resource, layer: ResourceLayer | TaskOfItsOwn) -> None:
        try:
            await _left(layer)
        except Exception:
            log.exception("provider %s() failed to clean up", resource.name)


def _is_ending(resource: Resource) -> InvalidCall:
    return InvalidCall(f"the worker is ending, so {resource.name}() is not called for its resource any more")


async def _left(layer: ResourceLayer | TaskOfItsOwn) -> None:
    """Leave a layer; raise what its clean-up raised."""
    if isinstance(layer, TaskOfItsOwn):
        error = await layer.aleave(None)
    else:
        error = await in_a_thread(lambda: layer.run.leave(None), name="posthorse-resource")
    if error is not None:
        raise error
