"""Logs of jobs: parts are written under the leases of their attempts, and read in order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from posthorse.store.base import (
    Operation,
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query_rows,
)
from posthorse.store.operations.read import outcome

T = TypeVar("T")


class LogPart(NamedTuple):
    """A part to write: lines of an attempt, named by the number of the first."""

    job: str
    epoch: int
    part: int
    attempt: int
    lines: str


class DroppedPart(NamedTuple):
    """A part that later lines replace."""

    job: str
    epoch: int
    part: int


class LogChanges(NamedTuple):
    """What a runner writes at once of what its jobs logged."""

    parts: Sequence[LogPart] = ()
    dropped: Sequence[DroppedPart] = ()


class StoredPart(NamedTuple):
    """A part as stored."""

    epoch: int
    part: int
    attempt: int
    lines: str


LOG_PARTS = TypedQuery("log_parts", StoredPart)
LAST_LOG_PARTS = TypedQuery("last_log_parts", StoredPart)


@creating_no_work
@operation
def write_logs(runner: str, changes: LogChanges) -> QuerySteps[None]:
    """Write parts of those attempts that still have their lease. A part that is there already is not written again."""
    yield from _write(runner, changes)


def after_logs(runner: str, changes: LogChanges, then: Operation[T]) -> Operation[T]:
    """Return an operation that first writes what jobs logged, because it may end their leases; both in one commit."""
    if not changes.parts:
        return then
    return msgspec.structs.replace(then, start=partial(_both, runner, changes, then), is_single=False, shortcut=None)


@operation
def log_parts(
    job: str, *, epoch: int, number: int, attempt: int | None, limit: int
) -> QuerySteps[list[StoredPart] | None]:
    """Return parts of a job in order, from the one that holds this line; None if the job does not exist."""
    found = yield from LOG_PARTS(job=job, epoch=epoch, number=number, attempt=attempt, limit=limit)
    if not found and (yield from outcome(job).start()) is None:
        return None
    return found


@operation
def last_log_parts(job: str, *, attempt: int | None, limit: int) -> QuerySteps[list[StoredPart] | None]:
    """Return the last parts of a job, the last one first; None if the job does not exist."""
    found = yield from LAST_LOG_PARTS(job=job, attempt=attempt, limit=limit)
    if not found and (yield from outcome(job).start()) is None:
        return None
    return found


def _write(runner: str, changes: LogChanges) -> QuerySteps[None]:
    if changes.parts:
        yield query_rows("add_log_parts", changes.parts, runner=runner)
    if changes.dropped:
        yield query_rows("drop_log_parts", changes.dropped)


def _both(runner: str, changes: LogChanges, then: Operation[T]) -> QuerySteps[T]:
    yield from _write(runner, changes)
    return (yield from then.start())
