"""Families: jobs that enter the store together with what they wait for, as roots, dependents, parents and children.

All enter in one commit. A dependent may also need a job that is there already, whether it waits, runs or is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from posthorse import ids
from posthorse.rules.job import NewJob, State
from posthorse.rules.joins import HAS_CHILDREN, NEEDS_OTHERS, Edge, is_barred, is_met
from posthorse.store.base import BoundQuery, Operation, QuerySteps, TypedQuery, query, query_rows
from posthorse.store.operations.awaited import wait_for
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.one_job import missing
from posthorse.store.operations.queues import check_open, check_room
from posthorse.store.operations.submit import (
    EntryTerms,
    SubmitResult,
    check_clock,
    portions,
    without_known,
)
from posthorse.store.operations.telling import tell_submitted
from posthorse.store.operations.waiting import JOIN_OF, move_on, skip
from posthorse.store.queries import Row

ENQUEUE_FAMILY = TypedQuery("enqueue_family", tuple[int, int])
HOLD_LEASE = TypedQuery("hold_lease", tuple[str])
ADD_TO_JOINS = TypedQuery("add_to_joins", tuple[str, str | None])


class NewFamily(NamedTuple):
    """Jobs that are about to be stored, and what they wait for. Parents come before their children.

    parents: those that have no code. They are blocked until their children are over, and then end.
    """

    jobs: Sequence[NewJob]
    edges: Sequence[Edge] = ()
    parents: frozenset[str] = frozenset()


class Needs(NamedTuple):
    """What the new jobs of a family need: edges with whether each is met, how many of each dependent are not, and the
    ones that cannot be met any more: the job that is over, and its state.
    """

    edges: Mapping[Edge, bool]
    missing: Mapping[str, int]
    barred: Mapping[str, tuple[str, State]]


def submit_family(family: NewFamily, terms: EntryTerms) -> Operation[list[SubmitResult]]:
    """Write a family, all of it or nothing; return results in the order of its jobs.

    If a key or an identity matches an earlier job, that job is answered, and what would have been its children, or
    would have followed its end, is left out. Raises as `submit.enqueue` does, and JobNotFound for a job that is needed
    and does not exist.
    """
    packed = family._replace(jobs=terms.packing.new_jobs(family.jobs))
    return Operation(partial(submitting, packed, terms))


def add_children(attempt: Fence, family: NewFamily, terms: EntryTerms) -> Operation[list[SubmitResult] | None]:
    """Write new children of a running job, or of its parent, as `submit_family` does; None if its lease has ended.

    Their parents are not over before them. It is not repeatable: run again, it would count them twice.
    """
    packed = family._replace(jobs=terms.packing.new_jobs(family.jobs))
    return Operation(partial(adding_children, attempt, packed, terms), is_repeatable=False)


def adding_children(attempt: Fence, family: NewFamily, terms: EntryTerms) -> QuerySteps[list[SubmitResult] | None]:
    """Write new children whose arguments are packed, as a part of other operations, such as a slice."""
    if not (yield from HOLD_LEASE(**attempt._asdict())):
        return None
    return (yield from submitting(family, terms))


def submitting(family: NewFamily, terms: EntryTerms) -> QuerySteps[list[SubmitResult]]:
    """Write a family whose arguments are packed, as a part of other operations."""
    earlier, fresh = yield from without_known(family.jobs, terms.packing)
    new = _without_families_of(earlier, fresh, family.edges)
    answers = [SubmitResult(earlier.get(job.id, job.id), created=job.id in new) for job in family.jobs]
    if not new:
        return answers
    if terms.closed:
        check_open([*new.values()], terms.closed)
    if terms.gauges:
        roots = {edge.dependent for edge in family.edges} | family.parents
        yield from check_room([job for id, job in new.items() if id not in roots], terms.gauges)
    children = _count_children(new)
    yield from _add_to_parents({parent: count for parent, count in children.items() if parent not in new})
    needs = yield from _needs(family.edges, new, earlier)
    yield from _insert(new, family.parents, needs, terms)
    if needs.edges:
        yield query_rows("put_edges", [(*edge, int(met)) for edge, met in needs.edges.items()])
    joins = _joins(new, family.parents, needs, children)
    if joins:
        yield query_rows("put_joins", joins)
    for dependent, (needed, state) in needs.barred.items():
        yield from skip(dependent, needed, state)
    for parent in sorted(family.parents & new.keys()):
        if parent not in children:
            yield from move_on((yield from JOIN_OF(job=parent)), {}, {})
    return answers


def _without_families_of(
    earlier: Mapping[str, str], jobs: Sequence[NewJob], edges: Sequence[Edge]
) -> dict[str, NewJob]:
    """Return the jobs that are new, by id: without children of jobs that exist already, and without what was to follow
    their ends. An earlier job keeps the callbacks that it has; the same call, repeated, adds none.
    """
    left = {*earlier}
    needed: dict[str, list[str]] = {}
    if left:
        for edge in edges:
            needed.setdefault(edge.dependent, []).append(edge.job)
    new: dict[str, NewJob] = {}
    for job in jobs:
        if job.parent in left or not left.isdisjoint(needed.get(job.id, ())):
            left.add(job.id)
        else:
            new[job.id] = job
    return new


def _needs(edges: Sequence[Edge], new: Mapping[str, NewJob], earlier: Mapping[str, str]) -> QuerySteps[Needs]:
    """Return what new jobs need; mark jobs that are there already as awaited."""
    wanted = {
        (needed, edge.dependent): Edge(needed, edge.dependent, edge.needs)
        for edge in edges
        if edge.dependent in new and (needed := earlier.get(edge.job, edge.job))
    }
    others = {needed for needed, _ in wanted if needed not in new}
    states = (yield from wait_for(sorted(others))) if others else {}
    for job in sorted(others - states.keys()):
        raise (yield from missing(job))
    met: dict[Edge, bool] = {}
    missed: dict[str, int] = {}
    barred: dict[str, tuple[str, State]] = {}
    for edge in wanted.values():
        state = states.get(edge.job, State.PENDING)
        met[edge] = is_met(edge.needs, state)
        missed[edge.dependent] = missed.get(edge.dependent, 0) + (not met[edge])
        if is_barred(edge.needs, state):
            barred.setdefault(edge.dependent, (edge.job, state))
    return Needs(met, missed, barred)


def _count_children(new: Mapping[str, NewJob]) -> dict[str, int]:
    children: dict[str, int] = {}
    for job in new.values():
        if job.parent is not None:
            children[job.parent] = children.get(job.parent, 0) + 1
    return children


def _add_to_parents(more: Mapping[str, int]) -> QuerySteps[None]:
    """Count new children of jobs that are there already. What was requested of their families holds for them, too."""
    if more:
        for parent, asked in (yield from ADD_TO_JOINS(sorted(more.items()))):
            if asked is not None:
                yield query("ask_family", job=parent, asked=asked, first=ids.first_of(0))


def _joins(new: Mapping[str, NewJob], parents: frozenset[str], needs: Needs, children: Mapping[str, int]) -> list[Row]:
    """Return the rows of joins of new jobs that wait."""
    rows: list[Row] = []
    for id, job in new.items():
        missed = needs.missing.get(id, 0)
        if missed or id in parents:
            phase = "end" if id in parents else None
            rows.append((id, missed, children.get(id, 0), phase, job.delay if missed else None))
    return rows


def _insert(new: Mapping[str, NewJob], parents: frozenset[str], needs: Needs, terms: EntryTerms) -> QuerySteps[None]:
    needed = {edge.job for edge in needs.edges}
    made_at = ids.milliseconds_of(next(iter(new)))
    for portion in portions([*new.values()]):
        rows: list[Row] = [
            (
                job.id,
                terms.lanes[job.lane],
                job.arguments,
                job.run_at,
                job.delay,
                job.options,
                job.tenant,
                job.tags,
                job.parent,
                int(job.parent is not None or job.id in needed),
                NEEDS_OTHERS if needs.missing.get(job.id) else HAS_CHILDREN if job.id in parents else None,
            )
            for job in portion
        ]
        when = {"made_at": made_at, "tolerance": ids.CLOCK_TOLERANCE}
        [(now, _)] = ENQUEUE_FAMILY.typed((yield BoundQuery(ENQUEUE_FAMILY.name, when, rows)))
        check_clock(made_at, now)
        if terms.told:
            yield from tell_submitted([job.id for job in portion if job.lane.kind in terms.told], now)
    places = [
        (job.sequence, job.id)
        for job in new.values()
        if job.sequence
        and job.run_at is None
        and not job.delay
        and not needs.missing.get(job.id)
        and job.id not in parents
    ]
    if places:
        yield query_rows("join_sequences", places)
