"""Submit jobs: `POST /api/v1/jobs`. Arguments are checked as `enqueue` checks them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from posthorse.app.call import Call
from posthorse.app.kind import Kind
from posthorse.errors import (
    InvalidArgument,
    InvalidOption,
    KeyConflict,
    NotUnique,
    QueueClosed,
    QueueFull,
    TooLarge,
    UnknownKind,
)
from posthorse.rules.job import Options
from posthorse.rules.keys import Key
from posthorse.store.operations import read
from posthorse.views.job import JobView, JobWithResultView
from posthorse.views.submitted import CheckedView, StoredView
from posthorse.web.access import Access, Permission, Scope
from posthorse.web.headers import IDEMPOTENCY_KEY, PREFER, preferred_wait
from posthorse.web.problems import Problem, escaped, invalid_field, invalid_header, problem_of, refused
from posthorse.web.reading import job_view, with_result
from posthorse.web.route import Answer, AnyRoute, Asked, Route
from posthorse.web.stored import outcome_unknown_if_unread, read_after
from posthorse.web.visibility import TAKEN, is_visible, naming_no_other

KEY_TTL = "24h"
"""For how long an `Idempotency-Key` counts."""

POLL_AFTER = "1"
"""Seconds after which a client may ask for the job again."""

SpanGiven = float | str | UnsetType


class SubmitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """validate_only: check the job, and store nothing."""

    validate_only: bool = False


class NewJobBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job to submit: its kind, its arguments by name, and options as `using` has them."""

    kind: str
    args: Raw = msgspec.field(default_factory=lambda: Raw(b"{}"))
    queue: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    delay: SpanGiven = UNSET
    run_at: Annotated[datetime, msgspec.Meta(tz=True)] | UnsetType = UNSET
    key: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    max_attempts: int | UnsetType = UNSET
    backoff: float | str | list[float | str] | UnsetType = UNSET
    timeout: SpanGiven = UNSET
    expires: SpanGiven = UNSET
    unique: bool | UnsetType = UNSET
    sequence: str | UnsetType = UNSET
    shards: int | UnsetType = UNSET


async def submit_job(asked: Asked[SubmitQuery, NewJobBody]) -> Answer:
    """Store a job, and wait for its end if the client prefers that."""
    key = _key_of(asked)
    call = checked_call(asked, asked.body, key=key)
    if asked.query.validate_only:
        new = call.template
        shown = CheckedView(
            kind=new.lane.kind, queue=new.lane.queue, priority=new.lane.priority, arguments=Raw(new.arguments.encode())
        )
        return Answer(shown)
    with naming_no_other(asked.access):
        job = await call.aenqueue()
    if not job.created:
        await _check_is_visible(asked, job.id)
    headers = {"Location": f"{asked.root}/api/v1/jobs/{job.id}"}
    if not job.created and key is not None:
        headers["Idempotency-Replayed"] = "true"
    wait = preferred_wait(asked.headers)
    finished = None
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
        finished = await read_after(asked.waits.outcome(asked.app, job.id, wait))
    status = await read_after(job.astatus())
    if status is not None and finished is not None:
        return Answer(with_result(status, finished, asked.access), headers=headers)
    view = StoredView(id=job.id) if status is None else job_view(status, asked.access)
    return Answer(view, 202, {**headers, "Retry-After": POLL_AFTER})


def checked_call(
    asked: Asked[Any, Any], body: NewJobBody, *, key: Key | None = None, pointer: str = ""
) -> Call[object]:
    """Check a job as `bind` does. `pointer`: where it is in the body. Raises Problem, which leads to what is wrong."""
    if not len(asked.app.registry):
        raise Problem(
            501,
            "no-application",
            "No application",
            "the service knows no kinds of jobs, so it can check no arguments; start it with "
            "`posthorse serve --app module:app`",
        )
    try:
        registered = asked.app.registry[body.kind]
    except UnknownKind as error:
        raise _at(f"{pointer}/kind", error) from None
    options = _options(asked, body, key, pointer)
    kind: Kind[..., object] = Kind(asked.app, registered)
    kind = _using(kind, options, pointer)
    try:
        args, kwargs = registered.signature.received(bytes(body.args))
        call = kind.bind(*args, **kwargs)
    except InvalidArgument as error:
        found = problem_of(error, pointer=f"{pointer}/args")
        raise error if found is None else found from None
    return _signed(call, asked.access) if asked.access.sees_only_its_own else call


def _options(asked: Asked[Any, Any], body: NewJobBody, key: Key | None, pointer: str) -> dict[str, Any]:
    given = {
        name: value
        for name in NewJobBody.__struct_fields__
        if name not in ("kind", "args") and (value := getattr(body, name)) is not UNSET
    }
    if key is not None:
        if "key" in given:
            raise invalid_field(f"{pointer}/key", "the header Idempotency-Key is given, too; leave one of them out")
        given["key"] = key
    tenant = asked.access.tenant
    if tenant is not None and given.setdefault("tenant", tenant) != tenant:
        raise refused(f"{pointer}/tenant: these credentials are for one tenant, and submit jobs of that alone")
    return given


def _using(kind: Kind[..., object], options: dict[str, Any], pointer: str) -> Kind[..., object]:
    try:
        return kind.using(**options) if options else kind
    except InvalidOption as error:
        for name, value in options.items():  # which of them it was
            try:
                kind.using(**{name: value})
            except InvalidOption as alone:
                raise _at(f"{pointer}/{escaped(name)}", alone) from None
        raise _at(pointer, error) from None


def _signed(call: Call[object], access: Access) -> Call[object]:
    """Note on the job who submitted it, because that is all they may read."""
    options = msgspec.structs.replace(Options.decode(call.template.options), submitter=access.name)
    template = msgspec.structs.replace(call.template, options=options.encode())
    return msgspec.structs.replace(call, template=template)


async def _check_is_visible(asked: Asked[Any, Any], job_id: str) -> None:
    """Refuse to show an earlier job, with the same key, that the caller may not see. Raises Problem."""
    if not asked.access.sees_only_its_own:
        return
    with outcome_unknown_if_unread():
        row = await asked.app.store.aread(read.job(job_id))
    if row is not None and not is_visible(row, asked.access):
        raise Problem(409, "key-conflict", "The key was used for another job", TAKEN)


def _key_of(asked: Asked[Any, Any]) -> Key | None:
    given = asked.headers.getlist("idempotency-key")
    if not given:
        return None
    try:
        if len(given) > 1:
            raise InvalidOption("it is given twice")
        return Key(given[0].removeprefix('"').removesuffix('"'), scope="app", ttl=KEY_TTL)
    except InvalidOption as error:
        raise invalid_header("Idempotency-Key", str(error)) from None


def _at(pointer: str, error: Exception) -> Problem:
    if isinstance(error, UnknownKind):
        found = problem_of(error)
        assert found is not None
        flawed = invalid_field(pointer, str(error))
        return Problem(found.status, found.name, found.title, found.detail, errors=flawed.errors)
    return invalid_field(pointer, str(error))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/api/v1/jobs",
        handler=submit_job,
        summary="Submit a job",
        needs=Permission.SUBMIT,
        scope=Scope.JOBS,
        query=SubmitQuery,
        body=NewJobBody,
        answers={202: (JobView, StoredView), 200: (JobWithResultView, CheckedView)},
        headers=IDEMPOTENCY_KEY | PREFER,
        raises=(InvalidArgument, InvalidOption, UnknownKind, TooLarge, KeyConflict, NotUnique, QueueFull, QueueClosed),
        problems={400: "invalid-header", 501: "no-application"},
    ),
)
