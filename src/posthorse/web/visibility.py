"""Which jobs a request may see. A job that it may not see looks like one that does not exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from posthorse import ids
from posthorse.app.job import Job
from posthorse.errors import KeyConflict, NotUnique
from posthorse.rules.job import Options
from posthorse.store.operations import read
from posthorse.store.operations.read import JobRow
from posthorse.web.access import Access
from posthorse.web.problems import Problem, no_such_job, problem_of
from posthorse.web.route import Asked

TAKEN = "another submitter has such a job"
"""How a submitter learns of an earlier job, with the same key or identity, that the caller may not see."""

CONFLICT = "a job with this key, or one that is the same, exists; nothing was stored"
"""How a submitter learns of a conflict, without the id of the job that it is with."""


async def visible_job(asked: Asked[Any, Any]) -> Job[object]:
    """Return the job that the path names. Raises Problem if there is none that the caller may see.

    A job never changes its tenant, nor who submitted it, so what is done to it afterwards needs no second check.
    """
    job_id = asked.path["id"].lower()
    if not ids.is_id(job_id):
        raise no_such_job()
    access = asked.access
    if not access.sees_all_jobs:
        row = await asked.app.store.aread(read.job(job_id))
        if row is None or not is_visible(row, access):
            raise no_such_job()
    return asked.app.get_job(job_id)


async def visible_among(asked: Asked[Any, Any], job_ids: Sequence[str]) -> Collection[str]:
    """Return those of the jobs that the caller may see."""
    if asked.access.sees_all_jobs or not job_ids:
        return job_ids
    rows = await asked.app.store.aread(read.jobs_by_id(job_ids))
    return {row.id for row in rows if is_visible(row, asked.access)}


@contextmanager
def naming_no_other(access: Access) -> Iterator[None]:
    """Tell a submitter of a conflict without the id of the job that it is with, which may be another's.

    Raises Problem.
    """
    try:
        yield
    except (KeyConflict, NotUnique) as error:
        problem = problem_of(error)
        if not access.sees_only_its_own or problem is None:
            raise
        raise Problem(problem.status, problem.name, problem.title, CONFLICT) from None


def is_visible(row: JobRow, access: Access) -> bool:
    """Return whether a caller may see a job."""
    if access.tenant is not None and row.tenant != access.tenant:
        return False
    return not access.sees_only_its_own or Options.decode(row.options).submitter == access.name
