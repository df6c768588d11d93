"""Finishing: an attempt and its lease end, and what follows is written in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from posthorse.rules.job import Lane, State
from posthorse.rules.lifecycle import Transition
from posthorse.rules.repeated_events import is_endless, times_in_a_row
from posthorse.rules.requests import LEAVE
from posthorse.rules.tallies import Happened
from posthorse.store.base import (
    Operation,
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
)
from posthorse.store.operations import ends
from posthorse.store.operations.ends import CompletionReply
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.lanes import lane_id
from posthorse.store.operations.moves import PARKED_STATES, do_as_asked
from posthorse.store.operations.one_job import UNASK_RUNNER
from posthorse.store.operations.recording import last_step, record
from posthorse.store.operations.signals import listen
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.tallies import tally_end
from posthorse.store.operations.telling import NOTHING, Told
from posthorse.store.operations.waiting import go_on_if_done, lock_family
from posthorse.store.operations.width import make_room
from posthorse.store.queries import Row


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
    the lane that its job has now, and whether anything watches the stream.
    """

    job: str
    version: int
    claimed_at: int
    took: int
    lane: int
    is_watched: int


class Completion(NamedTuple):
    """An attempt that returned; `result` is JSON."""

    job: str
    epoch: int
    result: str


END_LEASES = TypedQuery("end_leases", EndedLease)
RUNNER_ON_LIST = TypedQuery("runner_on_list", tuple[str, int])


@creating_no_work
@operation
def complete(runner: str, completions: Sequence[Completion], told: Told = NOTHING) -> QuerySteps[CompletionReply]:
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
    return CompletionReply(refused, has_noted)


def settle(settlement: Settlement) -> Operation[bool]:
    """Apply a transition to one attempt that still has its lease; return False if it has not. See `settle_all`."""
    return Operation(partial(_settle_one, settlement))


@operation
def settle_all(settlements: Sequence[Settlement]) -> QuerySteps[set[str]]:
    """Apply transitions to attempts of one runner that still have their leases; return the jobs that have none.

    Requests that users made meanwhile are honoured: a job that goes on elsewhere is paused or cancelled first, and a
    pause that was withdrawn does not happen.
    """
    for each in settlements:
        if each.transition.waits_for_room:  # joins are locked before jobs
            yield from lock_family(each.attempt.job)
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
            request = asked.get(job)
            if request is not None and request != LEAVE:
                yield from do_as_asked(job, request)
            elif each.transition.state is State.PAUSED:
                yield from do_as_asked(job, "resume")
    for each in going_on:
        if each.transition.phase is not None:  # the last of its children may have ended before it
            yield from go_on_if_done(each.attempt.job)
        elif each.transition.waits_for_room:  # the last of those that run may have left before it
            parent = (yield from lock_family(each.attempt.job)).parent
            if parent is not None:
                yield from make_room(parent)
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
    joined = [
        (lease.job, phase, each.transition.passed)
        for each, _, lease in ended
        if (phase := each.transition.phase) is not None
    ]
    if joined:  # locks joins, which come before jobs
        yield query_rows("set_phases", sorted(joined))
    rows = [_row(each, number, lease) for each, number, lease in ended]
    if leases[0].is_watched and (told := [(row[_JOB], row[_VERSION], row[_EVENT]) for row in rows if row[_EVENT]]):
        yield query_rows("tell_ends", told)
    yield from ends.settle(rows, {each.attempt.job: each.transition.state for each, *_ in ended})
    for (each, number, lease), row in zip(ended, rows, strict=True):
        if number != lease.lane:
            yield query("change_lane", job=lease.job, lane=number)
        if each.transition.state is State.PENDING:
            yield query("admit", job=lease.job)
        elif (topic := each.transition.topic) is not None:
            yield from listen(lease.job, each.attempt.epoch, topic, each.transition.until)
        elif (until := each.transition.until) is not None:
            yield query("sleep_until", job=lease.job, moment=until)
        if not row[_EVENT]:
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


_JOB, _VERSION, _EVENT = 0, 2, 16
"""Places in such a row. The event is empty if it is not recorded by the statement itself."""


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
    told = {} if evidence is None else msgspec.json.decode(evidence, type=dict[str, object])
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


def _by_epoch(completions: Sequence[Completion]) -> Mapping[int, Sequence[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for job, epoch, result in completions:
        found.setdefault(epoch, []).append((job, result))
    return found
