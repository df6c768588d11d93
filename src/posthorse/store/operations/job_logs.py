"""Logs of jobs: pieces are written under the leases of their attempts, and read in order."""

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


class LogPiece(NamedTuple):
    """A piece to write: lines of an attempt, named by the number of the first."""

    job: str
    epoch: int
    piece: int
    attempt: int
    lines: str


class DroppedPiece(NamedTuple):
    """A piece that later lines replace."""

    job: str
    epoch: int
    piece: int


class LogChanges(NamedTuple):
    """What a runner writes at once of what its jobs logged."""

    pieces: Sequence[LogPiece] = ()
    dropped: Sequence[DroppedPiece] = ()


class StoredPiece(NamedTuple):
    """A piece as stored."""

    epoch: int
    piece: int
    attempt: int
    lines: str


LOG_PIECES = TypedQuery("log_pieces", StoredPiece)
LAST_LOG_PIECES = TypedQuery("last_log_pieces", StoredPiece)


@creating_no_work
@operation
def write_logs(runner: str, changes: LogChanges) -> QuerySteps[None]:
    """Write pieces of those attempts that still have their lease. One that is there already is not written again."""
    yield from _write(runner, changes)


def after_logs(runner: str, changes: LogChanges, then: Operation[T]) -> Operation[T]:
    """Return an operation that first writes what jobs logged, because it may end their leases; both in one commit."""
    if not changes.pieces:
        return then
    return msgspec.structs.replace(then, start=partial(_both, runner, changes, then), is_single=False, shortcut=None)


@operation
def log_pieces(
    job: str, *, epoch: int, number: int, attempt: int | None, limit: int
) -> QuerySteps[list[StoredPiece] | None]:
    """Return pieces of a job in order, from the one that holds this line; None if the job does not exist."""
    found = yield from LOG_PIECES(job=job, epoch=epoch, number=number, attempt=attempt, limit=limit)
    if not found and (yield from outcome(job).start()) is None:
        return None
    return found


@operation
def last_log_pieces(job: str, *, attempt: int | None, limit: int) -> QuerySteps[list[StoredPiece] | None]:
    """Return the last pieces of a job, the last one first; None if the job does not exist."""
    found = yield from LAST_LOG_PIECES(job=job, attempt=attempt, limit=limit)
    if not found and (yield from outcome(job).start()) is None:
        return None
    return found


def _write(runner: str, changes: LogChanges) -> QuerySteps[None]:
    if changes.pieces:
        yield query_rows("add_log_pieces", changes.pieces, runner=runner)
    if changes.dropped:
        yield query_rows("drop_log_pieces", changes.dropped)


def _both(runner: str, changes: LogChanges, then: Operation[T]) -> QuerySteps[T]:
    yield from _write(runner, changes)
    return (yield from then.start())
