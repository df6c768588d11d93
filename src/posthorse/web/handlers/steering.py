"""Steer one job: pause, resume, cancel, retry, discard, delete, and send it an event."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw

from posthorse.app.job import Job
from posthorse.app.reading import arguments_of
from posthorse.app.verbs import adrive
from posthorse.errors import InvalidArgument, InvalidOption, InvalidTransition, JobForgotten, JobNotFound, TooLarge
from posthorse.rules.job import State
from posthorse.store.operations.retention import erase
from posthorse.views.job import JobView
from posthorse.views.submitted import SentView, StoredView
from posthorse.web.access import Permission, Scope
from posthorse.web.handlers.jobs import shown
from posthorse.web.headers import IF_MATCH
from posthorse.web.problems import Problem, invalid_header, problem_of
from posthorse.web.route import Answer, AnyRoute, Asked, NoQuery, Route
from posthorse.web.stored import read_after
from posthorse.web.visibility import visible_job

_VERSION = re.compile(r'"v(\d{1,15})-[0-9a-f]{8}"', re.ASCII)


class NothingBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing: an empty object, or no body at all."""


class ForceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """force: end the lease of a job that runs now; whatever its code still does has no effect."""

    force: bool = False


class RetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """arguments: new values for some of its arguments, by name."""

    arguments: dict[str, Raw] | None = None


class EventBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event for a job that waits for it. again: replace an earlier one. expires: for how long it stays."""

    name: str
    payload: Raw = msgspec.field(default_factory=lambda: Raw(b"null"))
    again: bool = False
    expires: float | str = "30d"


async def cancel_job(asked: Asked[NoQuery, ForceBody]) -> Answer:
    """End a job for good."""
    return await _steered(asked, lambda job: job.acancel(force=asked.body.force))


async def pause_job(asked: Asked[NoQuery, ForceBody]) -> Answer:
    """Stop a job so that it can continue later."""
    return await _steered(asked, lambda job: job.apause(force=asked.body.force))


async def resume_job(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Continue a paused job."""
    return await _steered(asked, lambda job: job.aresume())


async def retry_job(asked: Asked[NoQuery, RetryBody]) -> Answer:
    """Start a failed or cancelled job again."""
    changes = asked.body.arguments
    if changes is None:
        return await _steered(asked, lambda job: job.aretry())
    job = await visible_job(asked)
    stored = msgspec.json.decode(await adrive(arguments_of(asked.app, job.id)), type=dict[str, Raw])
    kind = (await job.astatus()).kind
    try:
        args, kwargs = asked.app.registry[kind].signature.received(msgspec.json.encode(stored | changes))
        await job.aretry_with(*args, **kwargs)
    except InvalidArgument as error:
        raise problem_of(error, pointer="/arguments") or error from None
    return await _changed(asked, job)


async def discard_job(asked: Asked[NoQuery, NothingBody]) -> Answer:
    """Take a dead letter off the list."""
    return await _steered(asked, lambda job: job.adiscard())


async def send_job_event(asked: Asked[NoQuery, EventBody]) -> Answer:
    """Send an event to a job."""
    job = await visible_job(asked)
    body = asked.body
    payload = msgspec.json.decode(body.payload)
    sent = await asked.app.asend_event(body.name, payload, job=job, again=body.again, expires=body.expires)
    return Answer(SentView(sent=sent), 202)


async def delete_job(asked: Asked[NoQuery, None]) -> Answer:
    """Remove a job that is over, in the version that the client knows."""
    job = await visible_job(asked)
    if not await asked.app.store.arun(erase(job.id, version=_known_version(asked))):
        raise Problem(412, "changed", "The job has changed", "read the job again, and send its new ETag")
    return Answer(None, 204)


async def _steered(asked: Asked[Any, Any], action: Callable[[Job[object]], Awaitable[State]]) -> Answer:
    job = await visible_job(asked)
    await action(job)
    return await _changed(asked, job)


async def _changed(asked: Asked[Any, Any], job: Job[object]) -> Answer:
    """Show a job that was steered, as far as it can be read."""
    return await read_after(shown(asked, job, 202)) or Answer(StoredView(id=job.id), 202)


def _known_version(asked: Asked[Any, Any]) -> int:
    """Return the version of the job that the client read. Raises Problem."""
    given = asked.headers.getlist("if-match")
    if not given:
        detail = "send the ETag of the job as If-Match, so that no job is deleted that has changed since"
        raise Problem(428, "version-needed", "Which version?", detail)
    found = _VERSION.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        raise invalid_header("If-Match", "it must be the ETag of the job, as it was returned")
    return int(found[1])


def _steering(
    verb: str,
    handler: Callable[[Asked[NoQuery, Any]], Awaitable[Answer]],
    summary: str,
    body: type[object],
    needs: Permission = Permission.STEER,
) -> AnyRoute:
    return Route(
        method="POST",
        path=f"/api/v1/jobs/{{id}}:{verb}",
        handler=handler,
        summary=summary,
        needs=needs,
        scope=Scope.JOB,
        query=NoQuery,
        body=body,
        answers={202: (JobView, StoredView)},
        raises=(JobNotFound, JobForgotten, InvalidTransition),
    )


ROUTES: tuple[AnyRoute, ...] = (
    _steering("cancel", cancel_job, "End it for good", ForceBody),
    _steering("pause", pause_job, "Stop it, to continue later", ForceBody),
    _steering("resume", resume_job, "Continue it", NothingBody),
    _steering("retry", retry_job, "Start it again, if it failed or was cancelled", RetryBody),
    _steering("discard", discard_job, "Take a dead letter off the list", NothingBody, Permission.DELETE),
    Route(
        method="POST",
        path="/api/v1/jobs/{id}:event",
        handler=send_job_event,
        summary="Send it an event",
        needs=Permission.STEER,
        scope=Scope.JOB,
        query=NoQuery,
        body=EventBody,
        answers={202: SentView},
        raises=(JobNotFound, JobForgotten, InvalidOption, InvalidArgument, TooLarge),
    ),
    Route(
        method="DELETE",
        path="/api/v1/jobs/{id}",
        handler=delete_job,
        summary="Remove a job that is over, for good",
        needs=Permission.DELETE,
        scope=Scope.JOB,
        query=NoQuery,
        body=type(None),
        answers={204: None},
        headers=IF_MATCH,
        raises=(JobNotFound, JobForgotten, InvalidTransition),
        problems={400: "invalid-header", 412: "changed", 428: "version-needed"},
    ),
)
