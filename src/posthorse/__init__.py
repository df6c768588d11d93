"""Posthorse: background jobs that run long, in slices, and never lose their place."""

from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.jobs import Jobs
from posthorse.app.kind import Call, Kind
from posthorse.app.queues import Queue
from posthorse.app.schedules import Schedule, ScheduleState, ScheduleStatus
from posthorse.errors import (
    DuplicateKind,
    FenceLost,
    Interrupted,
    InvalidArgument,
    InvalidOption,
    InvalidSettings,
    JobCancelled,
    JobFailed,
    JobNotFound,
    KeyConflict,
    NotAllowed,
    OutcomeUnknown,
    PosthorseError,
    QueueClosed,
    QueueFull,
    ScheduleNotFound,
    SchemaMismatch,
    StoreError,
    StoreUnreachable,
    ToleranceExceeded,
    TooLarge,
    UnknownKind,
    UsageError,
)
from posthorse.rules.job import Attempt, BadItem, JobError, State, Status
from posthorse.rules.limits import Concurrency, Rate
from posthorse.rules.progress import Progress
from posthorse.rules.queues import QueueSettings
from posthorse.rules.retry import Backoff
from posthorse.rules.schedules import Misfire
from posthorse.rules.steering import GiveUp, Retry, Snooze
from posthorse.store.connections import AsyncConnection, Connection
from posthorse.version import VERSION
from posthorse.worker.context import Context
from posthorse.worker.slices import Batch
from posthorse.worker.sources import csv, files, keyset, lines, rows

__version__ = VERSION

__all__ = [
    "AsyncConnection",
    "Attempt",
    "Backoff",
    "BadItem",
    "Batch",
    "Call",
    "Concurrency",
    "Connection",
    "Context",
    "DuplicateKind",
    "FenceLost",
    "GiveUp",
    "Interrupted",
    "InvalidArgument",
    "InvalidOption",
    "InvalidSettings",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "Jobs",
    "KeyConflict",
    "Kind",
    "Misfire",
    "NotAllowed",
    "OutcomeUnknown",
    "Posthorse",
    "PosthorseError",
    "Progress",
    "Queue",
    "QueueClosed",
    "QueueFull",
    "QueueSettings",
    "Rate",
    "Retry",
    "Schedule",
    "ScheduleNotFound",
    "ScheduleState",
    "ScheduleStatus",
    "SchemaMismatch",
    "Snooze",
    "State",
    "Status",
    "StoreError",
    "StoreUnreachable",
    "ToleranceExceeded",
    "TooLarge",
    "UnknownKind",
    "UsageError",
    "__version__",
    "csv",
    "files",
    "keyset",
    "lines",
    "rows",
]
