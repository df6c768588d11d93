"""The resources of one attempt: made by their providers before the job's code, cleaned up after it.

Providers are the innermost layers of the onion, so they see the job's error and end in reverse order, whatever happens.
A plain provider runs where the job's code runs, in its thread or on the loop; an async one runs on the loop, and a
thread waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from posthorse.rules.registry import Registered
from posthorse.rules.resources import Resource, Resources
from posthorse.worker.base.event_loop import wait_on
from posthorse.worker.checkpoints.context import Context
from posthorse.worker.running.onion import Onion
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.provided import TaskOfItsOwn, arguments_of, layer_of

Values = dict[Resource, object]


def with_resources(
    kind: Registered,
    resources: Resources,
    onion: Onion,
    context: Context | None,
    of_process: ProcessResources,
) -> Callable[..., object]:
    """Return the function of a job as one of its arguments alone, which makes the resources first, inside the onion."""

    def call(*args: object, **kwargs: object) -> object:
        values: Values = {}
        for each in resources.order:
            if each.scope == "process":
                values[each] = of_process.get(each)
            else:
                values[each] = _made(each, arguments_of(each, values, context), onion)
        args, kwargs = resources.merged(args, kwargs, values)
        return kind.function(*args, **kwargs)

    async def acall(*args: object, **kwargs: object) -> object:
        values: Values = {}
        for each in resources.order:
            if each.scope == "process":
                values[each] = await of_process.aget(each)
            else:
                values[each] = await _amade(each, arguments_of(each, values, context), onion)
        args, kwargs = resources.merged(args, kwargs, values)
        return await cast("Awaitable[object]", kind.function(*args, **kwargs))

    return acall if kind.is_async else call


def _made(resource: Resource, arguments: dict[str, object], onion: Onion) -> object:
    value: object = resource.provider(**arguments)
    if hasattr(type(value), "__await__"):
        value = wait_on(onion.loop, _awaited(cast("Awaitable[object]", value)))
    layer = layer_of(resource, value, prefers_async=False)
    if layer is None:
        return value
    if layer.is_async:
        # Entered and left in one task, as the code of async libraries expects.
        return wait_on(onion.loop, onion.aenter(TaskOfItsOwn(layer.run)))
    return onion.enter(layer.run)


async def _amade(resource: Resource, arguments: dict[str, object], onion: Onion) -> object:
    value: object = resource.provider(**arguments)
    if hasattr(type(value), "__await__"):
        value = await cast("Awaitable[object]", value)
    layer = layer_of(resource, value, prefers_async=True)
    if layer is None:
        return value
    return await onion.aenter(layer.run) if layer.is_async else onion.enter(layer.run)


async def _awaited(value: Awaitable[object]) -> object:
    return await value
