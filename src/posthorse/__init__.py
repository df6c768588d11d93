"""Posthorse: background jobs that run long, in slices, and never lose their place."""

from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.kind import Call, Kind
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
    SchemaMismatch,
    StoreError,
    StoreUnreachable,
    TooLarge,
    UnknownKind,
    UsageError,
)
from posthorse.rules.job import JobError, State, Status
from posthorse.rules.progress import Progress
from posthorse.rules.retry import Backoff
from posthorse.store.connections import AsyncConnection, Connection
from posthorse.version import VERSION
from posthorse.worker.context import Context
from posthorse.worker.slices import Batch
from posthorse.worker.sources import csv, keyset, lines

__version__ = VERSION

__all__ = [
    "AsyncConnection",
    "Backoff",
    "Batch",
    "Call",
    "Connection",
    "Context",
    "DuplicateKind",
    "FenceLost",
    "Interrupted",
    "InvalidArgument",
    "InvalidOption",
    "InvalidSettings",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "KeyConflict",
    "Kind",
    "NotAllowed",
    "OutcomeUnknown",
    "Posthorse",
    "PosthorseError",
    "Progress",
    "SchemaMismatch",
    "State",
    "Status",
    "StoreError",
    "StoreUnreachable",
    "TooLarge",
    "UnknownKind",
    "UsageError",
    "__version__",
    "csv",
    "keyset",
    "lines",
]
