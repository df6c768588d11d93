"""How a job is shown: its status in a list, everything about it, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol, Self

import msgspec

from posthorse.rules.event_names import EventName
from posthorse.rules.events import Event
from posthorse.rules.job import Attempt, BadItem, JobError, State, Status
from posthorse.rules.progress import Progress
from posthorse.views.attempt import AttemptView
from posthorse.views.bad_item import BadItemView
from posthorse.views.base import View


class ProgressView(View, frozen=True, kw_only=True):
    """How far a job is, and when it will be done; `remaining` is in seconds."""

    done: int
    total: int | None
    fraction: float | None
    rate: float | None
    remaining: float | None
    eta: datetime | None
    eta_range: tuple[datetime, datetime] | None
    note: str | None

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Show a progress."""
        return cls(
            done=progress.done,
            total=progress.total,
            fraction=progress.fraction,
            rate=progress.rate,
            remaining=None if progress.remaining is None else progress.remaining.total_seconds(),
            eta=progress.eta,
            eta_range=progress.eta_range,
            note=progress.note,
        )


class LastErrorView(View, frozen=True, kw_only=True):
    """The last error of a job; `traceback` is null if none was kept."""

    type: str
    message: str
    traceback: str | None

    @classmethod
    def of(cls, error: JobError) -> Self:
        """Show an error with all its fields."""
        return cls(type=error.type, message=error.message, traceback=error.traceback)


class JobView(View, frozen=True, kw_only=True):
    """A job as it was at one moment."""

    id: str
    state: State
    reason: str | None
    waits_for: str | None
    kind: str
    queue: str
    priority: int
    tenant: str | None
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    attempt: int
    max_attempts: int | None
    crashes: int
    interruptions: int
    progress: ProgressView
    requested: str | None
    error: LastErrorView | None
    worker: str | None
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    schedule: str | None
    scheduled_at: datetime | None

    @classmethod
    def of(cls, status: Status) -> JobView:
        """Show a status."""
        return JobView(
            id=status.id,
            state=status.state,
            reason=status.reason,
            waits_for=status.waits_for,
            kind=status.kind,
            queue=status.queue,
            priority=status.priority,
            tenant=status.tenant,
            tags=tuple(status.tags),
            metadata=dict(status.metadata),
            attempt=status.attempt,
            max_attempts=status.max_attempts,
            crashes=status.crashes,
            interruptions=status.interruptions,
            progress=ProgressView.of(status.progress),
            requested=status.requested,
            error=None if status.error is None else LastErrorView.of(status.error),
            worker=status.worker,
            created_at=status.created_at,
            run_at=status.run_at,
            started_at=status.started_at,
            finished_at=status.finished_at,
            schedule=status.schedule,
            scheduled_at=status.scheduled_at,
        )


class JobWithResultView(JobView, frozen=True, kw_only=True):
    """A job that is over, with its result: null unless it completed."""

    result: msgspec.Raw

    @classmethod
    def assemble(cls, job: JobView, result: str | None) -> Self:
        """Show a job with its result, which is JSON."""
        return cls(**msgspec.structs.asdict(job), result=_raw(result))


class EventView(View, frozen=True, kw_only=True):
    """An event in the life of a job: `detail` is what was recorded with it, its error as well."""

    number: int
    covers: int
    name: EventName
    at: datetime | None
    attempt: int | None
    worker: str | None
    reason: str | None
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        """Show an event."""
        return cls(
            number=event.number,
            covers=event.covers,
            name=event.name,
            at=event.at,
            attempt=event.attempt,
            worker=event.worker,
            reason=event.reason,
            detail=dict(event.detail),
        )


class JobDetailView(JobView, frozen=True, kw_only=True):
    """Everything about a job. `first_bad_items` is left out unless requested."""

    arguments: msgspec.Raw
    result: msgspec.Raw
    bad_items: int
    attempts: tuple[AttemptView, ...]
    events: tuple[EventView, ...]
    first_bad_items: tuple[BadItemView, ...] | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def assemble(
        cls,
        status: Status,
        *,
        arguments: str,
        result: str | None,
        bad_items: int,
        attempts: Iterable[Attempt],
        events: Iterable[Event],
        first_bad_items: Iterable[BadItem] | None = None,
    ) -> Self:
        """Show a status with the rest; arguments and result are JSON, as stored."""
        return cls(
            **msgspec.structs.asdict(JobView.of(status)),
            arguments=_raw(arguments),
            result=_raw(result),
            bad_items=bad_items,
            attempts=tuple(AttemptView.of(attempt) for attempt in attempts),
            events=tuple(EventView.of(event) for event in events),
            first_bad_items=msgspec.UNSET
            if first_bad_items is None
            else tuple(BadItemView.of(bad) for bad in first_bad_items),
        )


class UnfinishedView(JobView, frozen=True, kw_only=True):
    """A job that a command left before its end, so that there is no result."""

    result: None = None

    @classmethod
    def of(cls, status: Status) -> UnfinishedView:
        """Show a status without a result."""
        return UnfinishedView(**msgspec.structs.asdict(JobView.of(status)))


class ErrorGistView(View, frozen=True, kw_only=True):
    """An error without its traceback."""

    type: str
    message: str


class EndedJob(Protocol):
    """A job that has ended; its result is JSON, as stored."""

    @property
    def job(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def result(self) -> str | None: ...
    @property
    def error(self) -> JobError | None: ...


class OutcomeView(View, frozen=True, kw_only=True):
    """How a job ended; a job has a result only if it completed, and an error only if it failed."""

    id: str
    state: State
    reason: str | None
    result: msgspec.Raw
    error: ErrorGistView | None

    @classmethod
    def of(cls, ended: EndedJob) -> Self:
        """Show how a job ended."""
        error = ended.error if ended.state is State.FAILED else None
        return cls(
            id=ended.job,
            state=ended.state,
            reason=ended.reason,
            result=_raw(ended.result),
            error=None if error is None else ErrorGistView(type=error.type, message=error.message),
        )


def _raw(text: str | None) -> msgspec.Raw:
    # Not None: msgspec cannot read an optional Raw back.
    return msgspec.Raw(b"null" if text is None else text.encode())
