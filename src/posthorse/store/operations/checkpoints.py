"""Checkpoints: the state of a long job is saved under the fence of its attempt, and loaded by a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from posthorse.rules.loop_state import decode_loops, forgiven
from posthorse.rules.slice_size import CutShort, cut_short_by
from posthorse.store.base import (
    BoundQuery,
    Operation,
    QuerySteps,
    Shortcut,
    TypedQuery,
    operation,
    single_operation,
)
from posthorse.store.operations.bad_items import BadItemRow, keep_and_drop
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.moves import LOOPS_OF
from posthorse.store.operations.steps import STEPS, StepRow, keep_steps
from posthorse.store.queries import Value


class Checkpoint(NamedTuple):
    """The state of a long job. All texts are JSON; `total` is None if it is unknown."""

    done: int
    total: int | None
    pace: str
    note: str | None
    cursors: str
    kept: str


class BadItemChanges(NamedTuple):
    """What one slice did to the bad items of its loop: items that it tolerated, and numbers to forget because the items
    were repaired or did not come again.
    """

    loop: str
    bad: Sequence[BadItemRow]
    mended: Sequence[int]


class Stood(NamedTuple):
    """The state of a job when its attempts ended."""

    slices: int
    checkpoint: Checkpoint | None
    cut_short: CutShort
    uncommitted: Sequence[tuple[str, int]] = ()
    """Bad items (loop, number) of a slice that was not committed."""
    steps: Sequence[StepRow] = ()
    children: int = 0
    """How many children it added."""


class Saved(NamedTuple):
    """The reply to a checkpoint: what is requested of the job."""

    request: str | None


CHECKPOINT = TypedQuery("checkpoint", Saved)
LOAD_CHECKPOINT = TypedQuery("load_checkpoint", tuple[int, int, int | None, str, str | None, str, str, int, int])
ATTEMPTS_SINCE_SLICE = TypedQuery("attempts_since_slice", tuple[str, str | None])
UNCOMMITTED_BAD_ITEMS = TypedQuery("uncommitted_bad_items", tuple[str, int])

_NOTHING_ASKED = Saved(None)


def checkpoint(
    attempt: Fence,
    at: Checkpoint,
    *,
    is_slice: bool = True,
    changes: BadItemChanges | None = None,
    steps: Sequence[StepRow] = (),
) -> Operation[Saved | None]:
    """Save the state of a long job; None if its lease has ended, and then nothing is saved.

    is_slice: whether this is progress, as a slice or a step, and not only a report.
    """
    if changes is not None or steps:
        start = partial(write_checkpoint, attempt, at, is_slice, changes, steps)
        return Operation(start, creates_no_work=True)
    values = _values(attempt, at, is_slice)
    return Operation(
        partial(_checkpoint, values),
        is_single=True,
        creates_no_work=True,
        shortcut=Shortcut(BoundQuery(CHECKPOINT.name, values), _NOTHING_ASKED),
    )


@operation
def load_checkpoint(job: str) -> QuerySteps[Stood]:
    """Return the state of a job, if it has a checkpoint, and how its attempts ended since its last committed slice."""
    since = yield from ATTEMPTS_SINCE_SLICE(job=job)
    cut_short = cut_short_by((name, _decoded(detail)) for name, detail in since)
    uncommitted = yield from UNCOMMITTED_BAD_ITEMS(job=job)
    rows = yield from LOAD_CHECKPOINT(job=job)
    if not rows:
        return Stood(0, None, cut_short, uncommitted)
    [(slices, done, total, pace, note, cursors, kept, has_steps, children)] = rows
    steps = (yield from STEPS(job=job)) if has_steps else ()
    at = Checkpoint(done, total, pace, note, cursors, kept)
    return Stood(slices, at, cut_short, uncommitted, steps, children)


@single_operation
def errors_before_slice(job: str) -> QuerySteps[int]:
    """Return how many attempts had failed before the one that committed the last slice."""
    rows = yield from LOOPS_OF(job=job)
    return forgiven(decode_loops(rows[0][0]).values()) if rows else 0


def write_checkpoint(
    attempt: Fence, at: Checkpoint, is_slice: bool, changes: BadItemChanges | None, steps: Sequence[StepRow]
) -> QuerySteps[Saved | None]:
    """Write a checkpoint and what belongs to it, as a part of other operations."""
    saved = yield from _checkpoint(_values(attempt, at, is_slice))
    if saved is None:
        return None
    # From here on, the checkpoint holds the lease until the commit.
    if changes is not None:
        yield from keep_and_drop(
            attempt.job, attempt.epoch if is_slice else 0, changes.loop, changes.bad, changes.mended
        )
    if steps:
        yield from keep_steps(attempt.job, attempt.epoch, steps)
    return saved


def _checkpoint(values: Mapping[str, Value]) -> QuerySteps[Saved | None]:
    saved = CHECKPOINT.typed((yield BoundQuery(CHECKPOINT.name, {**values, "even_if_asked": 1})))
    return saved[0] if saved else None


def _values(attempt: Fence, at: Checkpoint, is_slice: bool) -> Mapping[str, Value]:
    job, epoch, runner = attempt
    done, total, pace, note, cursors, kept = at
    return {
        "job": job,
        "epoch": epoch,
        "runner": runner,
        "step": 1 if is_slice else 0,
        "done": done,
        "total": total,
        "pace": pace,
        "has_note": 0 if note is None else 1,
        "note": note or "",
        "cursors": cursors,
        "kept": kept,
        "even_if_asked": 0,
    }


def _decoded(detail: str | None) -> dict[str, object]:
    return {} if detail is None else msgspec.json.decode(detail, type=dict[str, object])
