"""Submit many jobs at once: `POST /api/v1/jobs:bulk`. All are stored in one commit."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Raw

from posthorse.app.call import Call
from posthorse.errors import InvalidArgument, InvalidOption, KeyConflict, NotUnique, QueueClosed, QueueFull, TooLarge
from posthorse.views.submitted import BulkView, SubmittedView
from posthorse.web.access import Permission, Scope
from posthorse.web.bodies import decode
from posthorse.web.handlers.submit import NewJobBody, checked_call
from posthorse.web.problems import Problem, invalid_field
from posthorse.web.route import Answer, AnyRoute, Asked, Route

MAX_JOBS = 10_000
MAX_BODY = 64 * 1024 * 1024


class BulkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """atomic: all jobs are stored or none. Otherwise those that are right are stored, and the others named."""

    atomic: bool = True


class BulkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """jobs: each as it is submitted alone."""

    jobs: list[Raw]


async def submit_jobs(asked: Asked[BulkQuery, BulkBody]) -> Answer:
    """Store many jobs."""
    given = asked.body.jobs
    if not 1 <= len(given) <= MAX_JOBS:
        raise invalid_field("/jobs", f"it has {len(given):,} jobs; send 1 to {MAX_JOBS:,}")
    checked = await asyncio.to_thread(_all_checked, asked)  # thousands would hold up other requests
    calls = [one for one in checked if isinstance(one, Call)]
    stored = iter(await asked.app.aenqueue_many(calls))
    shown: list[SubmittedView] = []
    for one in checked:
        if isinstance(one, Problem):
            pointer = one.errors[0].pointer if one.errors else None
            shown.append(SubmittedView(id=None, created=False, error=one.detail, pointer=pointer))
        else:
            job = next(stored)
            shown.append(SubmittedView(id=job.id, created=job.created))
    return Answer(BulkView(jobs=shown), 202)


def _all_checked(asked: Asked[BulkQuery, BulkBody]) -> list[Call[object] | Problem]:
    return [_checked(asked, number, text) for number, text in enumerate(asked.body.jobs)]


def _checked(asked: Asked[BulkQuery, Any], number: int, text: Raw) -> Call[object] | Problem:
    """Check one of the jobs. Raises Problem if all are stored or none."""
    pointer = f"/jobs/{number}"
    try:
        return checked_call(asked, decode(bytes(text), NewJobBody, pointer=pointer), pointer=pointer)
    except Problem as problem:
        if asked.query.atomic or problem.status not in (403, 413, 422):
            raise
        return problem


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/api/v1/jobs:bulk",
        handler=submit_jobs,
        summary="Submit up to 10,000 jobs in one commit",
        needs=Permission.SUBMIT,
        scope=Scope.JOBS,
        query=BulkQuery,
        body=BulkBody,
        answers={202: BulkView},
        raises=(InvalidArgument, InvalidOption, TooLarge, KeyConflict, NotUnique, QueueFull, QueueClosed),
        problems={501: "no-application"},
        max_body=MAX_BODY,
    ),
)
