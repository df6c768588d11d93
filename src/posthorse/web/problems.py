"""Errors as HTTP tells them: problems by RFC 9457, each with a stable type, without tracebacks and addresses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.errors import (
    CodecError,
    InvalidArgument,
    InvalidOption,
    InvalidTransition,
    JobForgotten,
    JobNotFound,
    KeyConflict,
    NotUnique,
    OutcomeUnknown,
    PosthorseError,
    QueueClosed,
    QueueFull,
    ResultExpired,
    ScheduleNotFound,
    SchemaMismatch,
    StoreError,
    StoreUnreachable,
    TookTooLong,
    TooLarge,
    UnknownKind,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:posthorse:problem:"


class Flaw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with one part of a request: a value that a JSON pointer leads to, a parameter or a header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class ProblemView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem as it is sent."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[Flaw] = ()
    trace_id: str | None = None


class Meaning(NamedTuple):
    """How an error is told. detail: in place of its message, if that is not for clients."""

    status: int
    name: str
    title: str
    detail: str | None = None
    retry_after: int | None = None


MEANINGS: Mapping[type[PosthorseError], Meaning] = {
    InvalidArgument: Meaning(422, "invalid-argument", "An argument of the job does not fit"),
    InvalidOption: Meaning(422, "invalid-value", "A value is invalid"),
    UnknownKind: Meaning(422, "unknown-kind", "No such kind of job"),
    TooLarge: Meaning(413, "too-large", "Too large"),
    UsageError: Meaning(422, "invalid-request", "The request is invalid"),
    JobForgotten: Meaning(410, "job-forgotten", "The job was removed"),
    JobNotFound: Meaning(404, "job-not-found", "No such job", "no job has this id"),
    ScheduleNotFound: Meaning(404, "schedule-not-found", "No such schedule"),
    ResultExpired: Meaning(410, "result-expired", "The result was removed"),
    KeyConflict: Meaning(409, "key-conflict", "The key was used for another job"),
    NotUnique: Meaning(409, "not-unique", "The same job exists"),
    InvalidTransition: Meaning(409, "invalid-transition", "The state of the job forbids it"),
    QueueFull: Meaning(503, "queue-full", "The queue is full"),
    QueueClosed: Meaning(503, "queue-closed", "The queue takes no new jobs", retry_after=60),
    StoreUnreachable: Meaning(
        503,
        "store-unreachable",
        "The store does not respond",
        "the store does not respond, so nothing was done; try again, and see the log of the service",
        2,
    ),
    OutcomeUnknown: Meaning(
        503,
        "outcome-unknown",
        "It is unknown what happened",
        "the store did not say whether it was done; ask again, a submission with the same Idempotency-Key",
        2,
    ),
    TookTooLong: Meaning(
        503, "took-too-long", "It took too long", "it did not end in time, and was ended; narrow the filter", 5
    ),
    SchemaMismatch: Meaning(
        503,
        "schema-mismatch",
        "The store has another version",
        "the tables of the store do not fit this version of the service; see its log",
        30,
    ),
    StoreError: Meaning(503, "store-error", "The store failed", "the store failed; see the log of the service", 5),
    CodecError: Meaning(
        500, "codec-error", "A stored text cannot be read", "the service lacks the codec that packed what is stored"
    ),
}
"""How each error is told; of several the nearest class counts. An error that is not here is a defect."""


class Problem(Exception):
    """A problem that a handler, or the service itself, finds in a request."""

    def __init__(
        self,
        status: int,
        name: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[Flaw] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def view(self, *, trace_id: str | None = None) -> ProblemView:
        """Show it as it is sent."""
        return ProblemView(
            type=f"{TYPE}{self.name}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
            trace_id=trace_id,
        )


def problem_of(error: PosthorseError, *, pointer: str = "") -> Problem | None:
    """Return how an error is told; None for a defect. `pointer`: to the arguments, in the body of the request."""
    meaning = next((MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS), None)
    if meaning is None:
        return None
    retry_after = math.ceil(error.retry_after) if isinstance(error, QueueFull) else meaning.retry_after
    detail = meaning.detail or str(error)
    errors: Sequence[Flaw] = ()
    if isinstance(error, InvalidArgument):
        errors = (Flaw(detail=detail, pointer=pointer + "".join(f"/{escaped(step)}" for step in error.path)),)
    return Problem(
        meaning.status,
        meaning.name,
        meaning.title,
        detail,
        errors=errors,
        headers=None if retry_after is None else {"Retry-After": str(retry_after)},
    )


def escaped(step: str) -> str:
    """Return one step of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")


def invalid_parameter(name: str, detail: str) -> Problem:
    """Make the problem of a query parameter."""
    return Problem(
        422, "invalid-value", "A value is invalid", f"{name}: {detail}", errors=(Flaw(detail=detail, parameter=name),)
    )


def invalid_header(name: str, detail: str) -> Problem:
    """Make the problem of a header."""
    return Problem(
        400, "invalid-header", "A header is invalid", f"{name}: {detail}", errors=(Flaw(detail=detail, header=name),)
    )


def invalid_field(pointer: str, detail: str) -> Problem:
    """Make the problem of a value in the body."""
    where = f"{pointer}: " if pointer else ""
    return Problem(
        422, "invalid-value", "A value is invalid", f"{where}{detail}", errors=(Flaw(detail=detail, pointer=pointer),)
    )


def refused(detail: str) -> Problem:
    """Make the problem of a request that is not allowed."""
    return Problem(403, "forbidden", "Not allowed", detail)


def not_found(detail: str) -> Problem:
    """Make the problem of a path that leads to nothing."""
    return Problem(404, "not-found", "Nothing is here", detail)


def no_such_job() -> Problem:
    """Make the problem of an id without a job, or of a job that the caller may not see: both look the same."""
    meaning = MEANINGS[JobNotFound]
    return Problem(meaning.status, meaning.name, meaning.title, meaning.detail or "")
