"""Effects of jobs on the world: I9. Each function yields violations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.faults.case import Case
from tests.faults.final import FinalJob
from tests.faults.history import Event

IN_TRANSACTIONS = ("exact", "exact_async")
"""Kinds whose effects commit together with the cursor."""

IN_SLICES = ("repeated",)
"""Kinds whose effects come before the cursor, in transactions of their own."""


def effects(case: Case) -> Iterator[str]:
    """I9: effects in the slice's transaction happen exactly once; others at least once, with at most one slice of them
    repeated for each interruption; a cursor is never ahead of its effects."""
    told: defaultdict[str, list[Event]] = defaultdict(list)
    for event in case.said("effect"):
        told[event.job or ""].append(event)
    for job in case.final.jobs:
        if job.kind in IN_TRANSACTIONS:
            yield from _exactly_once(case, job)
        elif job.kind in IN_SLICES:
            yield from _at_most_a_slice_again(case, job, told[job.id])
        else:
            yield from _between_once_and_each_attempt(case, job, told[job.id])


def _exactly_once(case: Case, job: FinalJob) -> Iterator[str]:
    times = Counter(effect.item for effect in case.effects.get(job.id, ()))
    again = sorted(item for item, count in times.items() if count > 1)
    if again:
        yield f"items {again[:5]} of job {job.id} ({job.kind}) were written more than once"
    done = (job.count if job.state == "completed" else job.done) or 0
    missing = sorted(set(range(done)) - set(times))
    if missing:
        yield f"job {job.id} ({job.kind}) is {job.state} at {done}, and items {missing[:5]} were never written"
    ahead = sorted(set(times) - set(range(done)))
    if ahead:
        yield f"items {ahead[:5]} of job {job.id} ({job.kind}) were written, and its cursor stands at {done}"


def _at_most_a_slice_again(case: Case, job: FinalJob, told: list[Event]) -> Iterator[str]:
    runs = len(case.runs.get(job.id, ()))
    times = Counter(event.value.item for event in told if event.value.item is not None)
    again = sum(count - 1 for count in times.values())
    if again > max(0, runs - 1):
        yield f"job {job.id} ({job.kind}) did {again} slices again in {runs} runs"
    done = (job.count if job.state == "completed" else job.done) or 0
    covered = {item for event in told for item in _items(event)}
    missing = sorted(set(range(done)) - covered)
    if missing:
        yield f"the cursor of job {job.id} ({job.kind}) stands at {done}, and items {missing[:5]} were never done"


def _between_once_and_each_attempt(case: Case, job: FinalJob, told: list[Event]) -> Iterator[str]:
    runs = {run.token for run in case.runs.get(job.id, ())}
    tokens = Counter(event.token for event in told)
    if job.state == "completed" and job.result is not None and not tokens[job.result] and told:
        yield f"job {job.id} ({job.kind}) completed with the result of a run that had no effect"
    if job.state == "completed" and job.result is not None and not told:
        yield f"job {job.id} ({job.kind}) completed without an effect"
    if sum(tokens.values()) > len(runs):
        yield f"job {job.id} ({job.kind}) had {sum(tokens.values())} effects in {len(runs)} runs"


def _items(event: Event) -> range:
    first = event.value.item or 0
    return range(first, first + (event.value.size or 0))
