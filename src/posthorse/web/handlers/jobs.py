"""Find jobs, and read one with all that belongs to it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from posthorse.app.job import Job
from posthorse.app.jobs import Jobs
from posthorse.app.reading import arguments_of, make_status
from posthorse.app.verbs import adrive
from posthorse.errors import InvalidOption, JobForgotten, JobNotFound, ResultExpired
from posthorse.rules.search.budget import MAX_PAGE
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.words import PATHS
from posthorse.store.operations import read
from posthorse.views.attempt import AttemptView
from posthorse.views.bad_item import BadItemView
from posthorse.views.graph import GraphView
from posthorse.views.job import EventView, JobView, OutcomeView
from posthorse.views.job_logs import LogLineView
from posthorse.views.lists import ArgumentsView, AttemptsView, BadItemsView, CountView, EventsView, LogsView
from posthorse.views.page import PageView, SearchedView
from posthorse.views.why import WhyView
from posthorse.web.access import Permission, Scope
from posthorse.web.headers import IF_NONE_MATCH, has_tag
from posthorse.web.log_cursors import cursor_of, line_at
from posthorse.web.parameters import blamed_on_parameter, checked_count
from posthorse.web.problems import Problem, refused
from posthorse.web.reading import attempt_view, entity_tag, event_view, graph_of_visible, job_view, why_view
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route
from posthorse.web.visibility import visible_among, visible_job
from posthorse.web.waits import MAX_WAIT

MAX_LINES = 10_000
MAX_STEPS = 10_000
MAX_BAD_ITEMS = 1_000


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """q: a filter. limit: how many jobs at most. after: the `next` of the page before."""

    q: str = ""
    limit: int = 50
    after: str | None = None


class CountQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """q: a filter."""

    q: str = ""


class WaitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """wait: seconds to wait for the end of the job before it is shown; more than 60 count as 60."""

    wait: int = 0


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """after: the number of the last event that was read."""

    after: int = 0


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """attempt: only that one. limit: how many lines at most. after: the `next` of the page before."""

    attempt: int | None = None
    limit: int = 1_000
    after: str | None = None


class LimitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """limit: how many at most."""

    limit: int = 100


async def list_jobs(asked: Asked[ListQuery, None]) -> Answer:
    """List jobs that match a filter, the newest first."""
    limit = checked_count(asked.query.limit, MAX_PAGE)
    found = _found(asked, asked.query.q)
    with blamed_on_parameter("after"):
        page = await found.apage(limit, after=asked.query.after)
    rows = await asked.app.store.aread(read.jobs_by_id([job.id for job in page])) if len(page) else []
    jobs = [job_view(make_status(row, asked.app.registry), asked.access) for row in rows]
    searched = SearchedView(back_to=page.searched.back_to, complete=page.searched.complete)
    return Answer(PageView(jobs=jobs, next=page.next, searched=searched))


async def count_jobs(asked: Asked[CountQuery, None]) -> Answer:
    """Count jobs that match a filter, for a moment."""
    counted = await _found(asked, asked.query.q).acounted()
    return Answer(CountView(count=counted.number, is_exact=counted.is_exact, text=str(counted)))


async def read_job(asked: Asked[WaitQuery, None]) -> Answer:
    """Show a job, at once or when it is over."""
    job = await visible_job(asked)
    if asked.query.wait > 0:
        await asked.waits.end(asked.app, job.id, min(asked.query.wait, MAX_WAIT))
    return await shown(asked, job)


async def shown(asked: Asked[Any, Any], job: Job[object], status: int = 200) -> Answer:
    """Return a job as it is now, with its tag; 304 if the client has it."""
    pulse = await asked.app.store.aread(read.pulse(job.id))  # before the job itself, so the version is never too new
    view = job_view(await job.astatus(), asked.access)
    tag = entity_tag(view, 0 if pulse is None else pulse.version)
    if status == 200 and has_tag(asked.headers, tag):
        return Answer(None, 304, {"ETag": tag})
    return Answer(view, status, {"ETag": tag})


async def read_arguments(asked: Asked[NoQuery, None]) -> Answer:
    """Show the arguments of a job."""
    job = await visible_job(asked)
    return Answer(ArgumentsView(arguments=Raw((await adrive(arguments_of(asked.app, job.id))).encode())))


async def read_result(asked: Asked[NoQuery, None]) -> Answer:
    """Show how a job ended."""
    job = await visible_job(asked)
    finished = await asked.waits.outcome(asked.app, job.id, 0)
    if finished is None:
        detail = "the job is not over; wait for it with GET …/jobs/{id}?wait=30"
        raise Problem(409, "not-over", "The job is not over", detail, headers={"Retry-After": "1"})
    return Answer(OutcomeView.of(finished))


async def list_attempts(asked: Asked[NoQuery, None]) -> Answer:
    """List the attempts of a job, with their errors."""
    attempts = await (await visible_job(asked)).aattempts()
    return Answer(AttemptsView(attempts=[attempt_view(AttemptView.of(one), asked.access) for one in attempts]))


async def list_events(asked: Asked[EventsQuery, None]) -> Answer:
    """List what happened to a job, in order: its timeline."""
    job = await visible_job(asked)
    with blamed_on_parameter("after"):
        events = await job.aevents(asked.query.after)
    return Answer(EventsView(events=[event_view(EventView.of(one), asked.access) for one in events]))


async def list_logs(asked: Asked[LogsQuery, None]) -> Answer:
    """List what a job logged, in order."""
    job = await visible_job(asked)
    query = asked.query
    limit = checked_count(query.limit, MAX_LINES)
    after = None if query.after is None else line_at(query.after)
    with blamed_on_parameter("attempt"):
        lines = await job.alogs(attempt=query.attempt, after=after, limit=limit)
    more = cursor_of(lines[-1]) if len(lines) == limit else None
    return Answer(LogsView(lines=[LogLineView.of(line) for line in lines], next=more))


async def list_bad_items(asked: Asked[LimitQuery, None]) -> Answer:
    """List the first bad items that a job tolerated."""
    job = await visible_job(asked)
    found = await job.abad_items(limit=checked_count(asked.query.limit, MAX_BAD_ITEMS))
    return Answer(BadItemsView(bad_items=[BadItemView.of(one) for one in found]))


async def read_why(asked: Asked[NoQuery, None]) -> Answer:
    """Say why a job does not run now."""
    return Answer(why_view(WhyView.of(await (await visible_job(asked)).awhy()), asked.access))


async def read_graph(asked: Asked[LimitQuery, None]) -> Answer:
    """Show the jobs of a flow, and what needs what."""
    job = await visible_job(asked)
    graph = GraphView.of(await job.agraph(limit=checked_count(asked.query.limit, MAX_STEPS)))
    return Answer(graph_of_visible(graph, await visible_among(asked, [node.id for node in graph.nodes])))


def _found(asked: Asked[Any, None], wanted: str) -> Jobs:
    """Return the jobs that match a filter; with credentials of a tenant, only those of that tenant.

    Raises Problem if the filter looks into what the caller may not see: whether a job matches would tell it.
    """
    tenant = asked.access.tenant
    with blamed_on_parameter("q"):
        if not asked.access.sees_data:
            terms = parse_filter(wanted)
            hidden = next((term for word in PATHS for term in terms.of_word(word)), None)
            if hidden is not None:
                raise refused(f"q: {hidden.name} looks into arguments or metadata, which these credentials do not show")
        return asked.app.jobs(wanted) if tenant is None else asked.app.jobs(wanted, tenant=tenant)


MISSING = (JobNotFound, JobForgotten)
DATA = Permission.READ_DATA
READ = Permission.READ

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/api/v1/jobs",
        handler=list_jobs,
        summary="Find jobs",
        needs=READ,
        scope=Scope.JOBS,
        query=ListQuery,
        body=type(None),
        answers={200: PageView},
        raises=(InvalidOption,),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs:count",
        handler=count_jobs,
        summary="Count jobs",
        needs=READ,
        scope=Scope.JOBS,
        query=CountQuery,
        body=type(None),
        answers={200: CountView},
        raises=(InvalidOption,),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}",
        handler=read_job,
        summary="Read a job",
        needs=READ,
        scope=Scope.JOB,
        query=WaitQuery,
        body=type(None),
        answers={200: JobView, 304: None},
        headers=IF_NONE_MATCH,
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/arguments",
        handler=read_arguments,
        summary="Read its arguments",
        needs=DATA,
        scope=Scope.JOB,
        query=NoQuery,
        body=type(None),
        answers={200: ArgumentsView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/result",
        handler=read_result,
        summary="Read how it ended",
        needs=DATA,
        scope=Scope.JOB,
        query=NoQuery,
        body=type(None),
        answers={200: OutcomeView},
        raises=(*MISSING, ResultExpired),
        problems={409: "not-over"},
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/attempts",
        handler=list_attempts,
        summary="List its attempts",
        needs=READ,
        scope=Scope.JOB,
        query=NoQuery,
        body=type(None),
        answers={200: AttemptsView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/events",
        handler=list_events,
        summary="List its events, which are its timeline",
        needs=READ,
        scope=Scope.JOB,
        query=EventsQuery,
        body=type(None),
        answers={200: EventsView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/logs",
        handler=list_logs,
        summary="List what it logged",
        needs=DATA,
        scope=Scope.JOB,
        query=LogsQuery,
        body=type(None),
        answers={200: LogsView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/bad-items",
        handler=list_bad_items,
        summary="List the bad items that it tolerated",
        needs=DATA,
        scope=Scope.JOB,
        query=LimitQuery,
        body=type(None),
        answers={200: BadItemsView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/why",
        handler=read_why,
        summary="Say why it does not run",
        needs=READ,
        scope=Scope.JOB,
        query=NoQuery,
        body=type(None),
        answers={200: WhyView},
        raises=MISSING,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{id}/graph",
        handler=read_graph,
        summary="Show the flow that it is, or what it needs",
        needs=READ,
        scope=Scope.JOB,
        query=LimitQuery,
        body=type(None),
        answers={200: GraphView},
        raises=MISSING,
    ),
)
