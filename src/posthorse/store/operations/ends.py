"""Ends: a job that was not over is over. Every end passes through here, whatever caused it.

Four statements can write a final state: `complete`, `settle`, `cancel_job` and `end_parent`. They are called in this
module alone, and what they ended goes to `_follow` in the same commit. So what must follow an end is one function,
named in END_STEPS for each state that it follows, or in STEPS_OF_AWAITED if others wait for that end. A state without
steps costs a look. A retry is not an end, and neither is a discard, because the job was over before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from posthorse.rules.job import State
from posthorse.rules.joins import ParentEnd
from posthorse.store.base import QuerySteps, TypedQuery, query_rows
from posthorse.store.operations.awaited import NOT_AWAITED, Awaited, NotedEnd, awaited_among, note
from posthorse.store.operations.stock_ends import end_orders
from posthorse.store.operations.tallies import tally_end
from posthorse.store.operations.telling import NOTHING, Told, tell
from posthorse.store.queries import Row


class LeaseRace(Exception):
    """Raised if a lease ended between reading and writing in one statement; the operation runs again."""


class JobEnd(NamedTuple):
    """Jobs that one statement ended; none if all of a batch were refused.

    was: the state that they were in; `processing` if a runner held them. rows: what the statement returned. awaited:
    those that other jobs or a stock wait for.
    """

    jobs: Sequence[str]
    state: State
    was: State
    rows: Sequence[Row]
    awaited: Awaited = NOT_AWAITED


class CompletionReply(NamedTuple):
    """The reply to results: the jobs that had no lease, and whether ends were noted, to be counted."""

    refused: list[str]
    has_noted: bool = False


_COMPLETE = TypedQuery("complete", tuple[int, int, int, int])
ALREADY_ENDED = TypedQuery("already_ended", tuple[str, int | None])
_CANCEL_JOB = TypedQuery("cancel_job", tuple[int, int | None, int])
_END_PARENT = TypedQuery("end_parent", tuple[int, int])

EndStep = Callable[[JobEnd], QuerySteps[None]]
"""What follows ends, as a part of the operation that ended the jobs: if it fails, the jobs are not over."""


def complete(
    runner: str, epoch: int, results: Sequence[tuple[str, str]], told: Told = NOTHING
) -> QuerySteps[CompletionReply]:
    """Write results of a runner's attempts (job, JSON) that still have their lease."""
    rows = yield from _COMPLETE(results, epoch=epoch, runner=runner)
    [(ended, written, now, may_be_awaited)] = rows
    if ended != written:
        raise LeaseRace
    refused: list[str] = []
    jobs: Iterable[str] = map(itemgetter(0), results)
    if ended < len(results):
        # Either fenced off, or completed by a commit whose reply was lost: the epoch in the row tells. It does not say
        # by which runner: if a database lost a claim and another runner completed the job, the first one does not
        # learn of it.
        moments = dict((yield from ALREADY_ENDED([(job, epoch) for job, _ in results], state=State.COMPLETED.value)))
        refused = [job for job, _ in results if job not in moments]
        jobs = [job for job in jobs if moments.get(job) == now]
    if told is not NOTHING:
        jobs = tuple(jobs)
        yield from _tell_of_completed(jobs, told)
    awaited = NOT_AWAITED
    if may_be_awaited:
        jobs = tuple(jobs)
        awaited = yield from awaited_among(jobs)
    yield from _follow(jobs, State.COMPLETED, was=State.PROCESSING, rows=rows, awaited=awaited)
    return CompletionReply(refused, bool(awaited.by_jobs))


def settle(rows: Sequence[Row], states: Mapping[str, State]) -> QuerySteps[None]:
    """Write how attempts ended whose leases this transaction ended: rows of the statement `settle`, and the state of
    each job.
    """
    yield query_rows("settle", rows)
    over: dict[State, list[str]] = {}
    for job, state in states.items():
        if state.is_final:
            over.setdefault(state, []).append(job)
    for state, jobs in over.items():
        awaited = yield from awaited_among(jobs)
        yield from _follow(jobs, state, was=State.PROCESSING, rows=rows, awaited=awaited)


def cancel(job: str, was: State, reason: str | None) -> QuerySteps[int]:
    """Cancel a job that no runner holds, or discard a dead letter; return its version."""
    rows = yield from _CANCEL_JOB(job=job, reason=reason)
    [(version, _, is_awaited)] = rows
    if not was.is_final:
        awaited = (yield from awaited_among([job])) if is_awaited else NOT_AWAITED
        yield from _follow([job], State.CANCELLED, was=was, rows=rows, awaited=awaited)
    return version


def end_parent(job: str, end: ParentEnd) -> QuerySteps[int]:
    """End a blocked job by its children; return its version."""
    error = None if end.error is None else end.error.encode()
    rows = yield from _END_PARENT(job=job, state=end.state.value, reason=end.reason, error=error)
    [(version, is_awaited)] = rows
    awaited = (yield from awaited_among([job])) if is_awaited else NOT_AWAITED
    yield from _follow([job], end.state, was=State.BLOCKED, rows=rows, awaited=awaited)
    return version


def _tell_of_completed(jobs: Sequence[str], told: Told) -> QuerySteps[None]:
    """Tell the stream that attempts began, if it was not told before, and that they completed."""
    yield from tell("started", [(job, told.started[job]) for job in jobs if job in told.started])
    yield from tell("completed", [(job, told.completed[job]) for job in jobs if job in told.completed])


def _follow(
    jobs: Iterable[str], state: State, *, was: State, rows: Sequence[Row], awaited: Awaited = NOT_AWAITED
) -> QuerySteps[None]:
    """Take the steps that follow an end, in order."""
    steps = END_STEPS[state]
    if awaited is not NOT_AWAITED:
        steps = (*steps, *STEPS_OF_AWAITED)
    if steps:
        ended = JobEnd(tuple(jobs), state, was, rows, awaited)
        for step in steps:
            yield from step(ended)


def _drop_requests(ended: JobEnd) -> QuerySteps[None]:
    """Drop the requests that were carried out: a runner obeyed, or its lease was taken away."""
    if ended.was is State.PROCESSING:
        yield query_rows("unask_runner", [(job,) for job in ended.jobs])


def _count_cancelled(ended: JobEnd) -> QuerySteps[None]:
    """Count jobs that were cancelled while no runner held them: a runner counts its own."""
    if ended.was is not State.PROCESSING:
        [(version, *_)] = ended.rows
        for job in ended.jobs:
            yield tally_end(job, "cancelled", f"{job}/v{version!r}")


def _note_awaited(ended: JobEnd) -> QuerySteps[None]:
    """Note the ends for which other jobs wait; they are counted after the commit."""
    if ended.awaited.by_jobs:
        yield from note([NotedEnd(job, ended.state.value) for job in ended.awaited.by_jobs])


def _put_on_shelves(ended: JobEnd) -> QuerySteps[None]:
    """Let stocks have the results that they ordered."""
    if ended.awaited.by_stock:
        yield from end_orders(ended.awaited.by_stock, ended.state)


END_STEPS: Mapping[State, Sequence[EndStep]] = {
    State.COMPLETED: (),
    State.FAILED: (),
    State.CANCELLED: (_drop_requests, _count_cancelled),
}
"""What follows which ends. A request that came too late for another end is left to the sweep, and a retry drops it."""

STEPS_OF_AWAITED: Sequence[EndStep] = (_put_on_shelves, _note_awaited)
"""What follows the ends of jobs that others wait for, whatever the state."""
