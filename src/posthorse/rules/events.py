"""The events that applications can be notified of, as their functions receive them.

Conditions such as `DeadLettersGrew` are durable: `app.on(…)` makes a job of each. `Event` is one step in the life of a
job, and can be read at any time (`job.events()`); a reader that follows a job gets `Progressed` as well. The other
events are not stored: listeners (`app.listen(…)`) hear them in the process in which they happen, after the commit that
they report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from posthorse.rules.condition_events import (
    DeadLettersGrew as DeadLettersGrew,
)
from posthorse.rules.condition_events import (
    JobBehind as JobBehind,
)
from posthorse.rules.condition_events import (
    QueueLate as QueueLate,
)
from posthorse.rules.condition_events import (
    ScheduleMissed as ScheduleMissed,
)
from posthorse.rules.event_names import EventName
from posthorse.rules.job import JobError, State
from posthorse.rules.job_events import (
    AttemptFailed as AttemptFailed,
)
from posthorse.rules.job_events import (
    Cancelled as Cancelled,
)
from posthorse.rules.job_events import (
    Completed as Completed,
)
from posthorse.rules.job_events import (
    Crashed as Crashed,
)
from posthorse.rules.job_events import (
    Discarded as Discarded,
)
from posthorse.rules.job_events import (
    Expired as Expired,
)
from posthorse.rules.job_events import (
    Failed as Failed,
)
from posthorse.rules.job_events import (
    JobEvent as JobEvent,
)
from posthorse.rules.job_events import (
    JobStarted as JobStarted,
)
from posthorse.rules.job_events import (
    JobSubmitted as JobSubmitted,
)
from posthorse.rules.job_events import (
    Lost as Lost,
)
from posthorse.rules.job_events import (
    Missed as Missed,
)
from posthorse.rules.job_events import (
    Paused as Paused,
)
from posthorse.rules.job_events import (
    Released as Released,
)
from posthorse.rules.job_events import (
    Resumed as Resumed,
)
from posthorse.rules.job_events import (
    Retried as Retried,
)
from posthorse.rules.job_events import (
    Snoozed as Snoozed,
)
from posthorse.rules.job_events import (
    Split as Split,
)
from posthorse.rules.job_events import (
    Superseded as Superseded,
)
from posthorse.rules.job_events import (
    Unfit as Unfit,
)
from posthorse.rules.progress import Progress
from posthorse.rules.store_events import (
    QueueChanged as QueueChanged,
)
from posthorse.rules.store_events import (
    SchedulePaused as SchedulePaused,
)
from posthorse.rules.store_events import (
    ScheduleResumed as ScheduleResumed,
)
from posthorse.rules.store_events import (
    StoreEvent as StoreEvent,
)
from posthorse.rules.store_events import (
    WorkerLost as WorkerLost,
)

Ending = Literal[
    "returned",
    "raised",
    "snoozed",
    "waits",
    "joined",
    "split",
    "skipped",
    "stopped",
    "expired",
    "lost",
    "crashed",
    "unfit",
]
"""How an attempt ended; `stopped` is a pause, a cancel, a deploy or the end of a time box."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of a job. The numbers of a job's events have no gaps: they are the versions of the job.

    job: its id. number: counts the events of the job, from 1. covers: how many numbers this event stands for, because
    a long series of equal ones is kept as its last one; those before it are missing from the list.
    name: what happened.
    at: when, on the store's clock, aware and in UTC; None if that was not recorded.
    attempt: which attempt began or ended, from 1; None if the event is about none.
    worker: the worker of that attempt. reason: why it happened, where that was recorded.
    error: what the attempt raised, or why the job failed for good.
    detail: all that was recorded with the event.
    """

    job: str
    number: int
    name: EventName
    at: datetime | None
    attempt: int | None = None
    worker: str | None = None
    reason: str | None = None
    error: JobError | None = None
    covers: int = 1
    detail: Mapping[str, object] = {}


class Progressed(msgspec.Struct, frozen=True, kw_only=True):
    """A job saved a checkpoint. This is not a step in its life, and has no number: nothing can be read from there on.

    at: when it was read, on the store's clock.
    """

    job: str
    at: datetime
    progress: Progress


class SubmittedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of `Submitted`."""

    job: str
    kind: str
    queue: str
    tenant: str | None


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """One call enqueued new jobs, and they are committed. Jobs that a key or `unique` matched are not among them."""

    jobs: Sequence[SubmittedJob]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt took a slot of a worker. Its code runs next, unless the job expired or its arguments do not fit.

    tenant: None unless the worker needs to know it, as in fair queues.
    attempt: counts from 1. runner: the id of the runner.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    attempt: int
    runner: str


class SliceCommitted(msgspec.Struct, frozen=True, kw_only=True):
    """A long job committed a slice.

    loop: the name of the loop. items: how many items the slice did. done, total: of the job, as in its progress.
    slices: how many slices this attempt committed so far. seconds: how long this one took, its commit left out.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    attempt: int
    loop: str
    items: int
    done: int
    total: int | None
    slices: int
    seconds: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt ended, and what follows is stored. An attempt that lost its lease stores nothing, and is not reported.

    state: where the outcome led; a pause or cancel that was requested meanwhile may change it at once.
    seconds: how long the attempt took. error: what it raised, if that counts as an error.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    attempt: int
    runner: str
    outcome: Ending
    state: State
    seconds: float
    error: JobError | None


class Rescued(msgspec.Struct, frozen=True, kw_only=True):
    """The sweep freed a job whose worker fell silent. runner: the one that held it. reason: as in the job's status."""

    job: str
    kind: str
    queue: str
    tenant: str | None
    runner: str
    state: State
    reason: str | None


Heard = Submitted | Started | SliceCommitted | Ended | Rescued
"""What `app.listen(…)` takes."""
