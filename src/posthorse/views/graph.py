"""How the graph of a flow is shown: its jobs, what needs what, and the critical path."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from posthorse.rules.flow_graph import Graph, GraphEdge, GraphNode
from posthorse.rules.job import State
from posthorse.views.base import View


class GraphNodeView(View, frozen=True, kw_only=True):
    """One job of a graph."""

    id: str
    name: str
    kind: str
    state: State
    reason: str | None
    is_flow: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, node: GraphNode) -> Self:
        """Show a job."""
        return cls(
            id=node.id,
            name=node.name,
            kind=node.kind,
            state=node.state,
            reason=node.reason,
            is_flow=node.is_flow,
            created_at=node.created_at,
            started_at=node.started_at,
            finished_at=node.finished_at,
        )


class GraphEdgeView(View, frozen=True, kw_only=True):
    """What one job needs of another one."""

    job: str
    dependent: str
    needs: str
    is_met: bool

    @classmethod
    def of(cls, edge: GraphEdge) -> Self:
        """Show an edge."""
        return cls(job=edge.job, dependent=edge.dependent, needs=edge.needs, is_met=edge.is_met)


class GraphView(View, frozen=True, kw_only=True):
    """The graph of a flow at one moment."""

    nodes: tuple[GraphNodeView, ...]
    edges: tuple[GraphEdgeView, ...]
    critical_path: tuple[str, ...]
    is_whole: bool

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """Show a graph."""
        return cls(
            nodes=tuple(map(GraphNodeView.of, graph.nodes)),
            edges=tuple(map(GraphEdgeView.of, graph.edges)),
            critical_path=tuple(graph.critical_path),
            is_whole=graph.is_whole,
        )
