"""Finishing: an attempt and its lease end, and what follows is written in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from posthorse.rules.job import Lane, State
from posthorse.rules.lifecycle import Transition
from posthorse.rules.loop_state import decode_loops, forgiven
from posthorse.rules.repeated_events import is_endless, times_in_a_row
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
    query_rows,
    single_operation,
)
from posthorse.store.operations import ends
from posthorse.store.operations.bad_items import BadItemRow, keep_and_drop
from posthorse.store.operations.ends import Written
from posthorse.store.operations.lanes import lane_id
from posthorse.store.operations.moves import LOOPS_OF, PARKED_STATES, do_as_asked
from posthorse.store.operations.one_job import UNASK_RUNNER
from posthorse.store.operations.recording import last_step, record
from posthorse.store.operations.signals import listen
from posthorse.store.operations.steps import STEPS, StepRow, keep_steps
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.tallies import tally_end
from posthorse.store.operations.telling import NOTHING, Told
from posthorse.store.operations.waiting import go_on_if_done
from posthorse.store.queries import Row, Value


class Fence(NamedTuple):
    """The attempt that a write belongs to.

    The epoch alone would not be enough: a database that lost acknowledged commits may assign the same one again.
    """

    job: str
    epoch: int
    runner: str


class Settlement(NamedTuple):
    """How an attempt ended other than by returning, and what follows."""

    attempt: Fence
    transition: Transition
    lane: Lane
    """The job's own; a suspect goes to the solo lane beside it."""
    evidence: str | None = None
    """JSON for the event."""
    number: int | None = None
    """That of the lane where the job goes, if the caller knows it."""
    cause: str | None = None
    """The group of the error, if the job failed for good."""
    happened: Sequence[Happened] = ()
    """What is counted in the same commit, because the attempt's runner cannot count it."""


class EndedLease(NamedTuple):
    """A lease that this transaction ended: the version that its job will have, how long it was held, in microseconds,
    and the lane that its job has now.
    """

    job: str
    version: int
    claimed_at: int
    took: int
    lane: int


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
    steps: Sequence[StepRow] = ()


class Saved(NamedTuple):
    """The reply to a checkpoint: what is requested of the job."""

    request: str | None


END_LEASES = TypedQuery("end_leases", EndedLease)
RUNNER_ON_LIST = TypedQuery("runner_on_list", tuple[str, int])
CHECKPOINT = TypedQuery("checkpoint", Saved)
LOAD_CHECKPOINT = TypedQuery("load_checkpoint", tuple[int, int, int | None, str, str | None, str, str, int])
ATTEMPTS_SINCE_SLICE = TypedQuery("attempts_since_slice", tuple[str, str | None])
UNCOMMITTED_BAD_ITEMS = TypedQuery("uncommitted_bad_items", tuple[str, int])

_NOTHING_ASKED = Saved(None)


@creating_no_work
@operation
def complete(runner: str, completions: Sequence[Completion], told: Told = NOTHING) -> QuerySteps[Written]:
    """Write results of a runner's attempts that still have their lease.

    told: what the stream hears of those that have it, if it is watched.
    """
    refused: list[str] = []
    has_noted = False
    # By epochs: there are few at once, and a row of two columns costs the store much less than one of three.
    for epoch, results in _by_epoch(completions).items():
        written = yield from ends.complete(runner, epoch, results, told)
        refused += written.refused
        has_noted = has_noted or written.has_noted
    return Written(refused, has_noted)


def settle(settlement: Settlement) -> Operation[bool]:
    """Apply a transition to one attempt that still has its lease; return False if it has not. See `settle_all`."""
    return Operation(partial(_settle_one, settlement))


@operation
def settle_all(settlements: Sequence[Settlement]) -> QuerySteps[set[str]]:
    """Apply transitions to attempts of one runner that still have their leases; return the jobs that have none.

    Requests that users made meanwhile are honoured: a job that goes on elsewhere is paused or cancelled first, and a
    pause that was withdrawn does not happen.
    """
    ended = yield from _end_attempts(settlements)
    going_on: list[Settlement] = []
    refused: list[Settlement] = []
    for each in settlements:
        if each.attempt.job not in ended:
            refused.append(each)
            continue
        for happened in each.happened:
            yield tally_end(each.attempt.job, happened, f"{each.attempt.job}/{each.attempt.epoch}")
        if not each.transition.state.is_final:
            going_on.append(each)
    if going_on:
        asked = dict((yield from UNASK_RUNNER([(each.attempt.job,) for each in going_on])))
        for each in going_on:
            job = each.attempt.job
            if job in asked:
                yield from do_as_asked(job, asked[job])
            elif each.transition.state is State.PAUSED:
                yield from do_as_asked(job, "resume")
    for each in going_on:
        if each.transition.phase is not None:  # the last of its children may have ended before it
            yield from go_on_if_done(each.attempt.job)
    return (yield from _unless_settled_before(refused)) if refused else set()


def _settle_one(settlement: Settlement) -> QuerySteps[bool]:
    return not (yield from settle_all([settlement]).start())


def _unless_settled_before(refused: Sequence[Settlement]) -> QuerySteps[set[str]]:
    """Return the jobs of attempts that did not end as was said, by a commit whose reply was lost."""
    jobs = {each.attempt.job for each in refused}
    for state in {each.transition.state for each in refused}:
        attempts = [each.attempt[:2] for each in refused if each.transition.state is state]
        jobs -= {job for job, _ in (yield from ends.ALREADY_ENDED(attempts, state=state.value))}
    return jobs


def end_attempt(settlement: Settlement) -> QuerySteps[bool]:
    """End the lease of an attempt and write what follows, as a part of other operations; False if it had none."""
    return bool((yield from _end_attempts([settlement])))


def _end_attempts(settlements: Sequence[Settlement]) -> QuerySteps[set[str]]:
    """End leases of one runner and write what follows; return the jobs of those that there were."""
    numbers: list[int] = []
    if any(each.transition.until is not None for each in settlements):
        settlements = yield from _measured(settlements)
    settlements = [_with_wait(each) if each.transition.wait else each for each in settlements]
    for each in settlements:
        lane = msgspec.structs.replace(each.lane, solo=each.transition.solo)
        numbers.append((yield from lane_id(lane)) if each.number is None else each.number)
    runner = settlements[0].attempt.runner
    leases = yield from END_LEASES([each.attempt[:2] for each in settlements], runner=runner)
    if not leases:
        return set()
    found = {lease.job: lease for lease in leases}
    ended = [
        (each, number, found[each.attempt.job])
        for each, number in zip(settlements, numbers, strict=True)
        if each.attempt.job in found
    ]
    joined = [(lease.job, each.transition.phase) for each, _, lease in ended if each.transition.phase is not None]
    if joined:  # locks joins, which come before jobs
        yield query_rows("set_phases", sorted(joined))
    yield from ends.settle(
        [_row(each, number, lease) for each, number, lease in ended],
        {each.attempt.job: each.transition.state for each, *_ in ended},
    )
    for each, number, lease in ended:
        if number != lease.lane:
            yield query("change_lane", job=lease.job, lane=number)
        if each.transition.state is State.PENDING:
            yield query("admit", job=lease.job)
        elif (topic := each.transition.topic) is not None:
            yield from listen(lease.job, each.attempt.epoch, topic, each.transition.until)
        elif (until := each.transition.until) is not None:
            yield query("sleep_until", job=lease.job, moment=until)
        if not _is_recorded(each):
            whole = yield from _complete_evidence(each.attempt, each.evidence, lease.took)
            yield from record(lease.job, lease.version, each.transition.event, whole)
    return set(found)


def _measured(settlements: Sequence[Settlement]) -> QuerySteps[list[Settlement]]:
    """Return the same, with how long those wait from now on that wait until a moment."""
    moment = yield from now()
    return [
        each
        if (until := each.transition.until) is None
        else each._replace(transition=msgspec.structs.replace(each.transition, wait=max(1, until - moment)))
        for each in settlements
    ]


def _row(settlement: Settlement, lane: int, lease: EndedLease) -> Row:
    """Return the row of one attempt for the statement `settle`, which takes empty texts for missing ones."""
    attempt, transition, _, evidence, _, cause, _ = settlement
    state, spent = transition.state, transition.spent
    return (
        lease.job,
        attempt.epoch,
        lease.version,
        lease.claimed_at,
        state.value,
        spent.errors,
        spent.crashes,
        spent.interruptions,
        transition.reason or "",
        lane,
        transition.error.encode() if transition.error else "",
        transition.result or "",
        0 if state is State.BLOCKED and transition.topic is not None else transition.wait or 0,
        1 if state.is_final else 0,
        1 if state in PARKED_STATES else 0,
        cause or "",
        transition.event if _is_recorded(settlement) else "",
        evidence or "",
    )


def _is_recorded(settlement: Settlement) -> bool:
    """Return True if all is known of the event, so that one statement writes it with the rest."""
    return _was_measured(settlement.evidence) and not is_endless(settlement.transition.event, settlement.evidence)


@single_operation
def unfit_in_a_row(job: str) -> QuerySteps[int]:
    """Return how often in a row a job did not fit the code when it was last tried."""
    return times_in_a_row("unfit", (yield from last_step(job)))


def _complete_evidence(attempt: Fence, evidence: str | None, took: int) -> QuerySteps[str | None]:
    """Add what only the store knows of an attempt that did not end by itself: how long it ran, and where."""
    if _was_measured(evidence):
        return evidence
    told = _decoded(evidence)
    told["seconds"] = round(took / 1_000_000, 3)
    for worker, pid in (yield from RUNNER_ON_LIST(id=attempt.runner)):
        told |= {"worker": worker, "pid": pid}
    return msgspec.json.encode(told).decode()


def _with_wait(settlement: Settlement) -> Settlement:
    """Add for how long the job waits now, in seconds, to the evidence: its row tells that only until the next wait."""
    told = f'"wait":{(settlement.transition.wait or 0) / 1_000_000!r}}}'
    evidence = settlement.evidence
    return settlement._replace(
        evidence=f"{{{told}" if evidence in (None, "{}") else f"{evidence.removesuffix('}')},{told}"
    )


def _was_measured(evidence: str | None) -> bool:
    """Return True if the attempt's own runner wrote the evidence, with all that is to know."""
    return evidence is not None and '"seconds":' in evidence


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
        return Operation(partial(_checkpoint, attempt, at, is_slice, changes, steps), creates_no_work=True)
    return Operation(
        partial(_checkpoint, attempt, at, is_slice, None, ()),
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
    [(slices, done, total, pace, note, cursors, kept, has_steps)] = rows
    steps = (yield from STEPS(job=job)) if has_steps else ()
    return Stood(slices, Checkpoint(done, total, pace, note, cursors, kept), cut_short, uncommitted, steps)


@single_operation
def errors_before_slice(job: str) -> QuerySteps[int]:
    """Return how many attempts had failed before the one that committed the last slice."""
    rows = yield from LOOPS_OF(job=job)
    return forgiven(decode_loops(rows[0][0]).values()) if rows else 0


def _checkpoint(
    attempt: Fence, at: Checkpoint, is_slice: bool, changes: BadItemChanges | None, steps: Sequence[StepRow]
) -> QuerySteps[Saved | None]:
    saved = CHECKPOINT.typed((yield _saving(attempt, at, is_slice, even_if_asked=1)))
    if not saved:
        return None
    # From here on, the checkpoint holds the lease until the commit.
    if changes is not None:
        yield from keep_and_drop(
            attempt.job, attempt.epoch if is_slice else 0, changes.loop, changes.bad, changes.mended
        )
    if steps:
        yield from keep_steps(attempt.job, attempt.epoch, steps)
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
