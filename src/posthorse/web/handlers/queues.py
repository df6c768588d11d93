"""Queues: what waits in them, their settings, and whether jobs start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from posthorse.app.queues import Queue
from posthorse.errors import InvalidOption
from posthorse.rules.job import checked_name
from posthorse.rules.queues import checked_live_layer
from posthorse.store.operations.queues import read_queues
from posthorse.views.lists import QueuesView
from posthorse.views.queue import QueueView, queue_views, unused
from posthorse.web.access import Permission, Scope
from posthorse.web.handlers.steering import NothingBody
from posthorse.web.problems import escaped, invalid_field, not_found
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route

MAX_LIMITS = 20
"""Limits of each queue that are shown with the jobs that they hold back."""


async def list_queues(asked: Asked[NoQuery, None]) -> Answer:
    """Show all queues."""
    return Answer(QueuesView(queues=await _views(asked)))


async def read_queue(asked: Asked[NoQuery, None]) -> Answer:
    """Show one queue."""
    name = asked.path["name"]
    for view in await _views(asked):
        if view.queue == name:
            return Answer(view)
    raise not_found("no queue of this name has jobs or settings")


async def change_queue(asked: Asked[NoQuery, dict[str, Any]]) -> Answer:
    """Change settings of a queue; null returns to what code or file says."""
    queue = _queue(asked)
    try:
        checked_live_layer(asked.body, queue=queue.name)
        await queue.aset(**asked.body)
    except InvalidOption as error:
        for name, value in asked.body.items():  # which of them it was
            try:
                checked_live_layer({name: value}, queue=queue.name)
            except InvalidOption as alone:
                raise invalid_field(f"/{escaped(name)}", str(alone)) from None
        raise invalid_field("", str(error)) from None
    return await _shown(asked, queue)


async def pause_queue(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Stop starting jobs from a queue; running jobs continue."""
    return await _steered(asked, Queue.apause)


async def resume_queue(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """End a pause or a drain."""
    return await _steered(asked, Queue.aresume)


async def drain_queue(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Accept no new jobs in a queue; waiting jobs still run."""
    return await _steered(asked, Queue.adrain)


async def _steered(asked: Asked[Any, Any], action: Callable[[Queue], Awaitable[None]]) -> Answer:
    queue = _queue(asked)
    await action(queue)
    return await _shown(asked, queue)


async def _shown(asked: Asked[Any, Any], queue: Queue) -> Answer:
    return Answer(await queue_view(asked, queue.name))


async def queue_view(asked: Asked[Any, Any], name: str) -> QueueView:
    """Return a queue as it is now; an empty one if it never had a job."""
    views = {view.queue: view for view in await _views(asked)}
    return views.get(name) or QueueView.of(unused(name), now=0)


def _queue(asked: Asked[Any, Any]) -> Queue:
    try:
        return Queue(asked.app, checked_name(asked.path["name"], what="queue"))
    except InvalidOption as error:
        raise not_found(str(error)) from None


async def _views(asked: Asked[Any, Any]) -> list[QueueView]:
    found = await asked.app.store.alook(read_queues(MAX_LIMITS))
    return queue_views(found, asked.app.registry.queues.settings(found.live))


def _steering(verb: str, handler: Callable[[Asked[NoQuery, Any]], Awaitable[Answer]], summary: str) -> AnyRoute:
    return Route(
        method="POST",
        path=f"/api/v1/queues/{{name:path}}:{verb}",
        handler=handler,
        summary=summary,
        needs=Permission.STEER,
        scope=Scope.STORE,
        query=NoQuery,
        body=NothingBody,
        answers={200: QueueView},
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/api/v1/queues",
        handler=list_queues,
        summary="List queues",
        needs=Permission.READ,
        scope=Scope.STORE,
        query=NoQuery,
        body=type(None),
        answers={200: QueuesView},
    ),
    _steering("pause", pause_queue, "Stop starting its jobs"),
    _steering("resume", resume_queue, "Start its jobs again, and take new ones"),
    _steering("drain", drain_queue, "Take no new jobs"),
    Route(
        method="GET",
        path="/api/v1/queues/{name:path}",
        handler=read_queue,
        summary="Read a queue",
        needs=Permission.READ,
        scope=Scope.STORE,
        query=NoQuery,
        body=type(None),
        answers={200: QueueView},
    ),
    Route(
        method="PATCH",
        path="/api/v1/queues/{name:path}",
        handler=change_queue,
        summary="Change its settings now, on every machine",
        needs=Permission.STEER,
        scope=Scope.STORE,
        query=NoQuery,
        body=dict[str, Any],
        answers={200: QueueView},
        raises=(InvalidOption,),
    ),
)
