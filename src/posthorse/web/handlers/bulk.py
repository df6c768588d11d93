"""Submit many jobs at once: `POST /api/v1/jobs:bulk`. All are stored in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from posthorse.app.call import Call
from posthorse.app.job import Job
from posthorse.errors import (
    InvalidArgument,
    InvalidOption,
    KeyConflict,
    NotUnique,
    PosthorseError,
    QueueClosed,
    QueueFull,
    TooLarge,
)
from posthorse.views.submitted import BulkView, SubmittedView
from posthorse.web.access import Permission, Scope
from posthorse.web.bodies import decode
from posthorse.web.handlers.submit import NewJobBody, checked_call
from posthorse.web.problems import Problem, invalid_field, problem_of
from posthorse.web.route import Answer, AnyRoute, Asked, Route
from posthorse.web.stored import outcome_unknown_if_unread
from posthorse.web.visibility import TAKEN, naming_no_other, visible_among

MAX_JOBS = 10_000
MAX_BODY = 64 * 1024 * 1024


class BulkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """atomic: all jobs are stored or none. Otherwise those that are right are stored, and the others named.

    What only the store knows, such as a key that was used for other arguments or a full queue, refuses all in any case.
    """

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
    with naming_no_other(asked.access):
        jobs = await asked.app.aenqueue_many(calls)
    hidden = await _hidden_among(asked, jobs)
    stored = iter(jobs)
    shown: list[SubmittedView] = []
    for number, one in enumerate(checked):
        if isinstance(one, Problem):
            pointer = one.errors[0].pointer if one.errors else f"/jobs/{number}"
            shown.append(SubmittedView(id=None, created=False, error=one.detail, pointer=pointer))
        elif (job := next(stored)).id in hidden:
            shown.append(SubmittedView(id=None, created=False, error=TAKEN, pointer=f"/jobs/{number}"))
        else:
            shown.append(SubmittedView(id=job.id, created=job.created))
    return Answer(BulkView(jobs=shown), 202)


async def _hidden_among(asked: Asked[BulkQuery, BulkBody], jobs: Sequence[Job[object]]) -> Collection[str]:
    """Return the ids of earlier jobs, with the same key or identity, that the caller may not see."""
    if not asked.access.sees_only_its_own:
        return ()
    created = {job.id for job in jobs if job.created}
    earlier = {job.id for job in jobs} - created
    with outcome_unknown_if_unread():
        return earlier.difference(await visible_among(asked, sorted(earlier)))


def _all_checked(asked: Asked[BulkQuery, BulkBody]) -> list[Call[object] | Problem]:
    return [_checked(asked, number, text) for number, text in enumerate(asked.body.jobs)]


def _checked(asked: Asked[BulkQuery, Any], number: int, text: Raw) -> Call[object] | Problem:
    """Check one of the jobs. Raises Problem if all are stored or none."""
    pointer = f"/jobs/{number}"
    try:
        return checked_call(asked, decode(bytes(text), NewJobBody, pointer=pointer), pointer=pointer)
    except Problem as problem:
        return _passed_over(asked, problem)
    except PosthorseError as error:
        problem_of_it = problem_of(error)
        if problem_of_it is None:
            raise
        return _passed_over(asked, problem_of_it)


def _passed_over(asked: Asked[BulkQuery, Any], problem: Problem) -> Problem:
    """Return the problem of one job if the others are stored without it, else raise it."""
    if asked.query.atomic or problem.status not in (403, 413, 422):
        raise problem
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
