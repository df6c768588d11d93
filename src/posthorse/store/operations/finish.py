"""Finishing: an attempt and its lease end, and what follows is written in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from posthorse.rules.job import Lane, State
from posthorse.rules.lifecycle import Transition
from posthorse.rules.loop_state import decode_loops, forgiven
from posthorse.rules.repeated_events import Step, is_endless, next_step, times_in_a_row
from posthorse.rules.slice_size import CutShort, cut_short_by
from posthorse.rules.tallies import Happened
from posthorse.store.base import (
    BoundQuery,
    Operation,
    QuerySteps,
    Shortcut,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    single_operation,
)
from posthorse.store.operations import ends
from posthorse.store.operations.bad_items import BadItemRow, keep_and_drop
from posthorse.store.operations.lanes import lane_id
from posthorse.store.operations.moves import LOOPS_OF, PARKED_STATES, do_as_asked
from posthorse.store.operations.one_job import UNASK_RUNNER
from posthorse.store.operations.tallies import tally_end
from posthorse.store.operations.telling import NOTHING, Told
from posthorse.store.queries import Value


class Fence(NamedTuple):
    """The attempt that a write belongs to.

    The epoch alone would not be enough: a database that lost acknowledged commits may assign the same one again.
    """

    job: str
    epoch: int
    runner: str


class Completion(NamedTuple):
    """An attempt that returned; `result` is JSON."""

    job: str
    epoch: int
    result: str


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


class Saved(NamedTuple):
    """The reply to a checkpoint: what is requested of the job."""

    request: str | None


LAST_EVENT = TypedQuery("last_event", Step)
RUNNER_ON_LIST = TypedQuery("runner_on_list", tuple[str, int])
CHECKPOINT = TypedQuery("checkpoint", Saved)
LOAD_CHECKPOINT = TypedQuery("load_checkpoint", tuple[int, int, int | None, str, str | None, str, str])
ATTEMPTS_SINCE_SLICE = TypedQuery("attempts_since_slice", tuple[str, str | None])
UNCOMMITTED_BAD_ITEMS = TypedQuery("uncommitted_bad_items", tuple[str, int])

_NOTHING_ASKED = Saved(None)


@creating_no_work
@operation
def complete(runner: str, completions: Sequence[Completion], told: Told = NOTHING) -> QuerySteps[list[str]]:
    """Write results of a runner's attempts that still have their lease; return the jobs that have none.

    told: what the stream hears of those that have it, if it is watched.
    """
    refused: list[str] = []
    # By epochs: there are few at once, and a row of two columns costs the store much less than one of three.
    for epoch, results in _by_epoch(completions).items():
        refused += yield from ends.complete(runner, epoch, results, told)
    return refused


@operation
def settle(
    attempt: Fence,
    transition: Transition,
    lane: Lane,
    evidence: str | None,
    *,
    number: int | None = None,
    cause: str | None = None,
    happened: Sequence[Happened] = (),
) -> QuerySteps[bool]:
    """Apply a transition to an attempt that still has its lease; return False if it has not.

    Requests that users made meanwhile are honoured: a job that goes on elsewhere is paused or cancelled first, and a
    pause that was withdrawn does not happen.

    evidence: JSON for the event. lane: the job's own; a suspect goes to the solo lane beside it. number: that of the
    lane where the job goes, if the caller knows it. cause: the group of the error, if the job failed for good.
    happened: what is counted in the same commit, because the attempt's runner cannot count it.
    """
    ended = yield from end_attempt(attempt, transition, lane, evidence, number=number, cause=cause)
    if not ended:
        return bool((yield from ends.ALREADY_ENDED([attempt[:2]], state=transition.state.value)))
    for each in happened:
        yield tally_end(attempt.job, each, f"{attempt.job}/{attempt.epoch}")
    if not transition.state.is_final:
        asked = yield from UNASK_RUNNER(job=attempt.job)
        if asked:
            yield from do_as_asked(attempt.job, asked[0][0])
        elif transition.state is State.PAUSED:
            yield from do_as_asked(attempt.job, "resume")
    return True


def end_attempt(
    attempt: Fence,
    transition: Transition,
    lane: Lane,
    evidence: str | None,
    *,
    number: int | None = None,
    cause: str | None = None,
) -> QuerySteps[bool]:
    """End the lease of an attempt and write what follows, as a part of other operations."""
    if number is None:
        number = yield from lane_id(msgspec.structs.replace(lane, solo=transition.solo))
    # Mostly all is known of the event, so that one statement writes it with the rest.
    is_recorded = _was_measured(evidence) and not is_endless(transition.event, evidence)
    rows = yield from ends.settle(
        attempt.job,
        transition.state,
        epoch=attempt.epoch,
        runner=attempt.runner,
        errors=transition.spent.errors,
        crashes=transition.spent.crashes,
        interruptions=transition.spent.interruptions,
        reason=transition.reason,
        lane=number,
        error=transition.error.encode() if transition.error else None,
        result=transition.result,
        wait=transition.wait,
        is_set_aside=transition.state in PARKED_STATES,
        cause=cause,
        event=transition.event if is_recorded else None,
        detail=evidence,
    )
    if not rows:
        return False
    [(version, took)] = rows
    if transition.state is State.PENDING:
        yield query("admit", job=attempt.job)
    if not is_recorded:
        whole = yield from _complete_evidence(attempt, evidence, took)
        yield from _record(attempt.job, version, transition.event, whole)
    return True


@single_operation
def unfit_in_a_row(job: str) -> QuerySteps[int]:
    """Return how often in a row a job did not fit the code when it was last tried."""
    return times_in_a_row("unfit", (yield from _last_step(job)))


def _complete_evidence(attempt: Fence, evidence: str | None, took: int) -> QuerySteps[str | None]:
    """Add what only the store knows of an attempt that did not end by itself: how long it ran, and where."""
    if _was_measured(evidence):
        return evidence
    told = _decoded(evidence)
    told["seconds"] = round(took / 1_000_000, 3)
    for worker, pid in (yield from RUNNER_ON_LIST(id=attempt.runner)):
        told |= {"worker": worker, "pid": pid}
    return msgspec.json.encode(told).decode()


def _was_measured(evidence: str | None) -> bool:
    """Return True if the attempt's own runner wrote the evidence, with all that is to know."""
    return evidence is not None and '"seconds":' in evidence


def _record(job: str, version: int, name: str, evidence: str | None) -> QuerySteps[None]:
    if not is_endless(name, evidence):
        yield query("record", job=job, version=version, name=name, detail=evidence)
        return
    detail, instead_of = next_step(name, evidence, (yield from _last_step(job)))
    if instead_of is None:
        yield query("record", job=job, version=version, name=name, detail=detail)
    else:
        yield query("record_again", job=job, version=version, instead_of=instead_of, detail=detail)


def _last_step(job: str) -> QuerySteps[Step | None]:
    rows = yield from LAST_EVENT(job=job)
    return rows[0] if rows else None


def checkpoint(
    attempt: Fence, at: Checkpoint, *, is_slice: bool = True, changes: BadItemChanges | None = None
) -> Operation[Saved | None]:
    """Save the state of a long job; None if its lease has ended, and then nothing is saved."""
    if changes is not None:
        return Operation(partial(_checkpoint, attempt, at, is_slice, changes), creates_no_work=True)
    return Operation(
        partial(_checkpoint, attempt, at, is_slice, None),
        is_single=True,
        creates_no_work=True,
        shortcut=Shortcut(_saving(attempt, at, is_slice, even_if_asked=0), _NOTHING_ASKED),
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
    return Stood(rows[0][0], Checkpoint(*rows[0][1:]), cut_short, uncommitted)


@single_operation
def errors_before_slice(job: str) -> QuerySteps[int]:
    """Return how many attempts had failed before the one that committed the last slice."""
    rows = yield from LOOPS_OF(job=job)
    return forgiven(decode_loops(rows[0][0]).values()) if rows else 0


def _checkpoint(
    attempt: Fence, at: Checkpoint, is_slice: bool, changes: BadItemChanges | None
) -> QuerySteps[Saved | None]:
    saved = CHECKPOINT.typed((yield _saving(attempt, at, is_slice, even_if_asked=1)))
    if not saved:
        return None
    if changes is not None:  # the checkpoint locks the lease until the commit
        yield from keep_and_drop(
            attempt.job, attempt.epoch if is_slice else 0, changes.loop, changes.bad, changes.mended
        )
    return saved[0]


def _saving(attempt: Fence, at: Checkpoint, is_slice: bool, *, even_if_asked: int) -> BoundQuery:
    job, epoch, runner = attempt
    done, total, pace, note, cursors, kept = at
    values: dict[str, Value] = {
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
        "even_if_asked": even_if_asked,
    }
    return BoundQuery(CHECKPOINT.name, values)


def _by_epoch(completions: Sequence[Completion]) -> Mapping[int, Sequence[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for job, epoch, result in completions:
        found.setdefault(epoch, []).append((job, result))
    return found


def _decoded(detail: str | None) -> dict[str, object]:
    return {} if detail is None else msgspec.json.decode(detail, type=dict[str, object])
