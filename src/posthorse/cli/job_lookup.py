"""Find jobs by what users type: a whole id, or its beginning or end.

The end of an id is random, so eight characters tell jobs apart; it is searched for among the newest jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import click

from posthorse import ids
from posthorse.app.client import Posthorse
from posthorse.app.reading import make_status, status_with_steps
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit, exit_of
from posthorse.cli.screen import complain, out_json
from posthorse.cli.target import raise_if_empty
from posthorse.clock import moment
from posthorse.errors import InvalidOption, InvalidTransition, JobNotFound, UsageError
from posthorse.rules.job import Status
from posthorse.rules.search.ways import IdRange, beginning_with
from posthorse.store.operations import read
from posthorse.store.operations.finding import newest_ids
from posthorse.store.operations.one_job import unknown, why_missing

MIN_PREFIX = 6
SHORT_ID = 8
NEWEST_SEARCHED = 10_000
PAGE = 1_000

_PART = re.compile(r"[0-9a-f-]+")


class JobLook(NamedTuple):
    """A job at a moment of the store's clock."""

    status: Status
    now: datetime


def look_at(app: Posthorse, job_id: str) -> JobLook:
    """Return a job by its whole id. Raises JobNotFound."""
    row = app.store.read(read.job(job_id))
    if row is None:
        raise app.store.read(why_missing(job_id))
    return JobLook(drive(status_with_steps(app, row)), moment(row.now))


def look_at_those_left(app: Posthorse, job_ids: Sequence[str]) -> dict[str, JobLook]:
    """Return jobs by their whole ids, in their order, with one query; leave out those that are not in the store."""
    rows = app.store.read(read.jobs_by_id(job_ids)) if job_ids else []
    return {row.id: JobLook(make_status(row, app.registry), moment(row.now)) for row in rows}


def look_at_all(app: Posthorse, job_ids: Sequence[str]) -> dict[str, JobLook]:
    """Do the same, for jobs that must all be there. Raises JobNotFound."""
    looks = look_at_those_left(app, job_ids)
    for job in job_ids:
        if job not in looks:
            raise app.store.read(why_missing(job))
    return looks


def for_each_job(
    app: Posthorse,
    typed_ids: Sequence[str],
    action: Callable[[str], None],
    *,
    failed: Mapping[str, object] | None,
) -> int:
    """Do something with every job, by its whole id, even if others fail; return the exit code of the first failure.

    failed: the fields of the JSON line of a job for which it failed, between its id and the error; None for no JSON.
    """
    code = Exit.OK
    for typed in typed_ids:
        try:
            action(find_id(app, typed))
        except (JobNotFound, InvalidTransition, UsageError, click.UsageError) as error:
            message = error.format_message() if isinstance(error, click.UsageError) else str(error)
            code = code or (Exit.USAGE if isinstance(error, click.UsageError) else exit_of(error))
            complain(message)
            if failed is not None:
                out_json({"id": typed, **failed, "error": message})
    return code


def short(job_id: str) -> str:
    """Return the end of an id, which is enough to name a job among the newest."""
    return job_id[-SHORT_ID:]


def find_id(app: Posthorse, typed: str) -> str:
    """Return the id of the only job that matches.

    Raises InvalidOption, click.UsageError, JobNotFound, StoreUnreachable.
    """
    part = typed.strip().lower().removeprefix("…")
    if not _PART.fullmatch(part) or not MIN_PREFIX <= len(part) <= 36:
        raise InvalidOption(
            f"{typed[:60]!r} is not a job id; ids look like 01936f5e-7c1a-7d2b-8e3f-0123456789ab, and {MIN_PREFIX} "
            "characters of the beginning or the end are enough"
        )
    raise_if_empty(app)
    if ids.is_id(part):
        return part
    found = _beginning_with(app, part) or _ending_with(app, part)
    if not found:
        raise unknown(part)
    if len(found) > 1:
        raise click.UsageError(f"{part!r} fits several jobs: {', '.join(found)}; give more of the id")
    return found[0]


def _beginning_with(app: Posthorse, part: str) -> list[str]:
    """Return up to three ids: ids are sorted, so no others are read."""
    within = beginning_with(part)
    return [] if within is None else app.store.look(newest_ids(within, 3))


def _ending_with(app: Posthorse, part: str) -> list[str]:
    found: list[str] = []
    within, seen = IdRange(), 0
    while seen < NEWEST_SEARCHED:
        page = app.store.look(newest_ids(within, PAGE))
        found += [job for job in page if job.endswith(part)]
        seen += len(page)
        if len(page) < PAGE:
            break
        within = IdRange(before=page[-1])
    return found
