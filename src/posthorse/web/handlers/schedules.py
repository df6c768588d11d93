"""Schedules: when they run next, and steering them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from posthorse.app.schedules import (
    MAX_SHOWN,
    Known,
    Schedule,
    named_schedule,
    next_times,
    schedule_status,
    schedules_of,
)
from posthorse.app.verbs import adrive
from posthorse.errors import QueueClosed, QueueFull, ScheduleNotFound
from posthorse.views.job import JobView
from posthorse.views.lists import SchedulesView
from posthorse.views.schedule import ScheduleView
from posthorse.views.submitted import StoredView
from posthorse.web.access import Permission, Scope
from posthorse.web.handlers.steering import NothingBody
from posthorse.web.parameters import checked_count
from posthorse.web.reading import job_view
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route
from posthorse.web.stored import outcome_unknown_if_unread, read_after


class NextQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """limit: how many times at most."""

    limit: int = 10


class TimesView(msgspec.Struct, frozen=True, kw_only=True):
    """The next times of a schedule, in its zone."""

    times: list[datetime]


async def list_schedules(asked: Asked[NoQuery, None]) -> Answer:
    """Show all schedules."""
    known = await adrive(schedules_of(asked.app))
    return Answer(SchedulesView(schedules=[_view(asked, one) for one in known]))


async def read_schedule(asked: Asked[NoQuery, None]) -> Answer:
    """Show one schedule."""
    return Answer(_view(asked, await _known(asked)))


async def next_of_schedule(asked: Asked[NextQuery, None]) -> Answer:
    """Show the next times of a schedule."""
    known = await _known(asked)
    count = checked_count(asked.query.limit, MAX_SHOWN)
    return Answer(TimesView(times=next_times(known.declared.timing, _now(asked, known), count)))


async def pause_schedule(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Let a schedule make no more jobs."""
    return await _steered(asked, lambda schedule: schedule.apause())


async def resume_schedule(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Let a schedule go on."""
    return await _steered(asked, lambda schedule: schedule.aresume())


async def trigger_schedule(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Enqueue the job of a schedule now."""
    known = await _known(asked)
    job = await Schedule[object](asked.app, known.declared).atrigger()
    headers = {"Location": f"{asked.root}/api/v1/jobs/{job.id}"}
    status = await read_after(job.astatus())
    return Answer(StoredView(id=job.id) if status is None else job_view(status, asked.access), 202, headers)


async def _steered(asked: Asked[Any, Any], action: Callable[[Schedule[object]], Awaitable[None]]) -> Answer:
    await action(Schedule(asked.app, (await _known(asked)).declared))
    with outcome_unknown_if_unread():
        return Answer(_view(asked, await _known(asked)))


async def _known(asked: Asked[Any, Any]) -> Known:
    return named_schedule(await adrive(schedules_of(asked.app)), asked.path["name"])


def _view(asked: Asked[Any, Any], known: Known) -> ScheduleView:
    return ScheduleView.of(schedule_status(known, _now(asked, known)))


def _now(asked: Asked[Any, Any], known: Known) -> int:
    return asked.app.store.clock.now() if known.row is None else known.row.now


def _steering(
    verb: str, handler: Callable[[Asked[NoQuery, Any]], Awaitable[Answer]], summary: str, answers: dict[int, object]
) -> AnyRoute:
    return Route(
        method="POST",
        path=f"/api/v1/schedules/{{name:path}}:{verb}",
        handler=handler,
        summary=summary,
        needs=Permission.STEER,
        scope=Scope.STORE,
        query=NoQuery,
        body=NothingBody,
        answers=answers,
        raises=(ScheduleNotFound, QueueFull, QueueClosed) if verb == "trigger" else (ScheduleNotFound,),
    )


def _reading(path: str, handler: Any, summary: str, query: type[Any], view: object) -> AnyRoute:  # noqa: ANN401
    return Route(
        method="GET",
        path=f"/api/v1/schedules{path}",
        handler=handler,
        summary=summary,
        needs=Permission.READ,
        scope=Scope.STORE,
        query=query,
        body=type(None),
        answers={200: view},
        raises=(ScheduleNotFound,) if path else (),
    )


ROUTES: tuple[AnyRoute, ...] = (
    _reading("", list_schedules, "List schedules", NoQuery, SchedulesView),
    _reading("/{name:path}:preview", next_of_schedule, "Tell its next times", NextQuery, TimesView),
    _reading("/{name:path}", read_schedule, "Read a schedule", NoQuery, ScheduleView),
    _steering("pause", pause_schedule, "Make no more jobs", {200: ScheduleView}),
    _steering("resume", resume_schedule, "Go on with the next time", {200: ScheduleView}),
    _steering("trigger", trigger_schedule, "Enqueue its job now", {202: (JobView, StoredView)}),
)
