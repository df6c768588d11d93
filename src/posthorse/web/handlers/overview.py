"""The store as a whole: workers, kinds, figures, errors, what autoscalers and Prometheus read, and its health."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any, cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.scaling import Load, desired_workers
from posthorse.store.operations import read
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.unserved import unserved
from posthorse.views.figures import By, Figures
from posthorse.views.health import ServiceHealthView, UnservedView
from posthorse.views.kind import KindsView, KindView
from posthorse.views.lists import ErrorsView, WorkersView
from posthorse.views.scaling import AutoscaleView, QueueLoadView
from posthorse.views.worker import WorkerView
from posthorse.web.access import Permission, Scope
from posthorse.web.handlers.queues import queue_view
from posthorse.web.parameters import blamed_on_parameter
from posthorse.web.problems import Problem, invalid_parameter
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route

LATELY = "5m"
"""For how long back an autoscaler looks at figures."""


class FiguresQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """since, until: a time with its zone, or how long ago. by: what the rows are for."""

    since: str = "1d"
    until: str = "0"
    by: str = "kind"


class ErrorsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """since, until: a time with its zone, or how long ago."""

    since: str = "1d"
    until: str = "0"


class AutoscaleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """concurrency: jobs that one worker runs at once. target: seconds that a new job may wait."""

    concurrency: int = 10
    target: float = 30.0


async def list_workers(asked: Asked[NoQuery, None]) -> Answer:
    """Show the runners of all workers."""
    return Answer(WorkersView(workers=await _workers(asked)))


async def list_kinds(asked: Asked[NoQuery, None]) -> Answer:
    """Show the kinds that jobs can have, with their arguments."""
    registry = asked.app.registry
    if len(registry):
        return Answer(KindsView(kinds=[KindView.of(registry[kind]) for kind in sorted(registry)]))
    known = sorted({kind for worker in await _workers(asked) for kind in worker.kinds})
    return Answer(KindsView(kinds=[KindView.of_worker(kind) for kind in known]))


async def read_figures(asked: Asked[FiguresQuery, None]) -> Answer:
    """Show what happened within a time."""
    query = asked.query
    with blamed_on_parameter("by"):
        return Answer(await _figures(asked, query.since, query.until, query.by))


async def list_errors(asked: Asked[ErrorsQuery, None]) -> Answer:
    """Show the groups of errors of a time."""
    with blamed_on_parameter("since"):
        figures = await _figures(asked, asked.query.since, asked.query.until, "kind")
    return Answer(ErrorsView(errors=figures.errors))


async def read_autoscale(asked: Asked[AutoscaleQuery, None]) -> Answer:
    """Tell autoscalers how many workers a queue needs."""
    query = asked.query
    if not 1 <= query.concurrency <= 10_000:
        raise invalid_parameter("concurrency", "it must be from 1 to 10,000")
    if not 0.1 <= query.target <= 86_400:
        raise invalid_parameter("target", "it must be from 0.1 to 86,400 seconds")
    queue = await queue_view(asked, asked.path["name"])
    figures = await asked.app.afigures(since=LATELY, by="queue")
    row = next((row for row in figures.rows if row.key == queue.queue), None)
    seconds = (figures.until - figures.since) / timedelta(seconds=1)
    load = Load(
        backlog=queue.waiting,
        running=queue.running,
        arrivals=0.0 if row is None else row.started / seconds,
        service=0.0 if row is None or row.ran is None else row.ran.mean,
    )
    return Answer(
        AutoscaleView(
            queue=QueueLoadView(
                backlog=queue.waiting,
                running=queue.running,
                latency_seconds=queue.oldest or 0.0,
                desired=desired_workers(load, concurrency=query.concurrency, target_wait=query.target),
            )
        )
    )


async def read_metrics(asked: Asked[NoQuery, None]) -> Answer:
    """Show the figures of the store to Prometheus."""
    if find_spec("prometheus_client") is None:
        detail = "metrics need another package: pip install 'posthorse[prometheus]'"
        raise Problem(501, "no-metrics", "No metrics", detail)
    from posthorse.telemetry.exposition import metrics_page  # here, because it needs the extra

    body, content_type = metrics_page(None, await asked.samples.newest(), asked.headers.get("accept", ""))
    return Answer(body, media_type=content_type)


async def read_health(asked: Asked[NoQuery, None]) -> Answer:
    """Tell whether jobs are taken: how many workers live, and which jobs no living worker would take."""
    store = asked.app.store
    settings = asked.app.registry.queues.settings(await store.aread(live_layers()))
    waiting = await store.alook(unserved(settings))
    alive = {worker.worker for worker in await _workers(asked) if worker.state != "silent"}
    view = ServiceHealthView(
        ok=not waiting,
        workers=len(alive),
        unserved=[UnservedView(queue=one.queue, kind=one.kind, waiting=one.waiting) for one in waiting],
    )
    return Answer(view)


async def _workers(asked: Asked[Any, Any]) -> list[WorkerView]:
    lease = timedelta(seconds=asked.app.settings.lease)
    return [WorkerView.of(row, lease) for row in await asked.app.store.alook(read.workers())]


async def _figures(asked: Asked[Any, Any], since: str, until: str, by: str) -> Figures:
    return await asked.app.afigures(since=_moment("since", since), until=_moment("until", until), by=cast("By", by))


def _moment(name: str, text: str) -> datetime | Duration:
    """Return a moment, or how long ago it was. Raises Problem."""
    try:
        at = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return text
    if at.tzinfo is None:
        raise invalid_parameter(name, "it must have a time zone, such as Z")
    return at


def _reading(path: str, handler: Any, summary: str, view: object, query: type[Any] = NoQuery) -> AnyRoute:  # noqa: ANN401
    return Route(
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        needs=Permission.READ,
        scope=Scope.STORE,
        query=query,
        body=type(None),
        answers={200: view},
        raises=() if query is NoQuery else (InvalidOption,),
    )


ROUTES: tuple[AnyRoute, ...] = (
    _reading("/api/v1/workers", list_workers, "List workers and their runners", WorkersView),
    Route(
        method="GET",
        path="/api/v1/kinds",
        handler=list_kinds,
        summary="List kinds of jobs, with a JSON Schema of their arguments",
        needs=Permission.READ | Permission.SUBMIT,
        scope=Scope.JOBS,
        query=NoQuery,
        body=type(None),
        answers={200: KindsView},
    ),
    _reading("/api/v1/figures", read_figures, "Tell what happened within a time", Figures, FiguresQuery),
    _reading("/api/v1/errors", list_errors, "List groups of errors", ErrorsView, ErrorsQuery),
    _reading(
        "/api/v1/autoscale/{name:path}",
        read_autoscale,
        "Tell how many workers a queue needs",
        AutoscaleView,
        AutoscaleQuery,
    ),
    _reading("/api/v1/health", read_health, "Tell whether jobs are taken", ServiceHealthView),
    _reading("/metrics", read_metrics, "Figures of the store for Prometheus", bytes),
)
