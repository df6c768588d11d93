"""Read the graph of a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorse.app.verbs import Verb, look_over, look_up
from posthorse.clock import moment
from posthorse.errors import InvalidOption
from posthorse.rules.flow_graph import Graph, GraphEdge, GraphNode, make_graph
from posthorse.rules.flows import MAX_STEPS
from posthorse.rules.job import Options, State
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.flow_reading import graph_of
from posthorse.store.operations.one_job import why_missing
from posthorse.store.operations.read import JobRow, outcome

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def read_graph(app: Posthorse, job: str, limit: int) -> Verb[Graph]:
    """Read the graph of a job, with at most so many steps. Raises JobNotFound, InvalidOption."""
    if type(limit) is not int or not 1 <= limit <= MAX_STEPS:
        raise InvalidOption(f"limit is {short(limit)}; it must be a whole number from 1 to {MAX_STEPS:,}")
    if (yield from look_up(app, outcome(job))) is None:
        raise (yield from look_up(app, why_missing(job)))
    stored = yield from look_over(app, graph_of(job, limit=limit))
    edges = [
        GraphEdge(job=edge.job, dependent=edge.dependent, needs=edge.needs, is_met=bool(edge.met))
        for edge in stored.edges
    ]
    return make_graph([_node(row) for row in stored.jobs], edges, is_whole=stored.is_whole)


def _node(row: JobRow) -> GraphNode:
    place = Options.decode(row.options).flow
    return GraphNode(
        id=row.id,
        name=row.kind if place is None or place.step is None else place.step,
        kind=row.kind,
        state=State(row.state),
        reason=row.reason,
        is_flow=place is not None and place.is_flow,
        created_at=moment(row.created_at),
        started_at=None if row.started_at is None else moment(row.started_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
    )
