"""Reading flows: what a step needed, and the graph of a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.store.base import QuerySteps, TypedQuery, operation, single_operation
from posthorse.store.operations.read import JOBS_BY_ID, JobRow


class NeededRow(NamedTuple):
    """A job of which another one needs an end."""

    id: str
    state: str
    kind: str
    options: str | None
    needs: str


class FlowRow(NamedTuple):
    """What a flow shares with its steps: its kind, and its arguments, which may be packed."""

    kind: str
    arguments: str
    options: str | None


class EdgeRow(NamedTuple):
    """`dependent` needs an end of `job`."""

    job: str
    dependent: str
    needs: str
    met: int


class StoredGraph(NamedTuple):
    """The jobs of a graph, and what needs what. `is_whole`: whether these are all."""

    jobs: Sequence[JobRow]
    edges: Sequence[EdgeRow]
    is_whole: bool


class FlowCount(NamedTuple):
    """How many children a job has, and how many of them are not over."""

    total: int
    open: int


STEPS_OF = TypedQuery("steps_of", JobRow)
EDGES_INTO = TypedQuery("edges_into", EdgeRow)
EDGES_FROM = TypedQuery("edges_from", EdgeRow)
FLOW_COUNT = TypedQuery("flow_count", FlowCount)
NEEDED_BY = TypedQuery("needed_by", NeededRow)
SHARED_BY_FLOW = TypedQuery("shared_by_flow", FlowRow)

MAX_NEEDED = 1_000


@single_operation
def needed_by(job: str) -> QuerySteps[list[NeededRow]]:
    """Return the first thousand jobs that a job needs, in the order in which they were made."""
    return (yield from NEEDED_BY(job=job, limit=MAX_NEEDED))


@single_operation
def shared_by_flow(flow: str) -> QuerySteps[FlowRow | None]:
    """Return what a flow shares with its steps; None if it is not stored."""
    rows = yield from SHARED_BY_FLOW(job=flow)
    return rows[0] if rows else None


@single_operation
def flow_count(flow: str) -> QuerySteps[FlowCount | None]:
    """Return how many children a job has, and how many are left; None if it never waited for any."""
    rows = yield from FLOW_COUNT(job=flow)
    return rows[0] if rows else None


@operation
def graph_of(job: str, *, limit: int) -> QuerySteps[StoredGraph]:
    """Return the children of a job with what they need; of a job without children, the jobs that it has edges with."""
    steps = yield from STEPS_OF(parent=job, limit=limit + 1)
    is_whole, steps = len(steps) <= limit, steps[:limit]
    ids = [row.id for row in steps] or [job]
    edges = yield from EDGES_INTO([(each,) for each in ids])
    if not steps:
        edges += yield from EDGES_FROM(job=job, limit=limit)
    outside = {*(edge.job for edge in edges), *(edge.dependent for edge in edges)} - {row.id for row in steps}
    others = (yield from JOBS_BY_ID([(each,) for each in sorted(outside)])) if outside else []
    return StoredGraph([*sorted(others, key=lambda row: row.id), *steps], edges, is_whole)
