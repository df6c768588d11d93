"""How the graph of a flow is shown: its jobs, what needs what, and the critical path.

The fields of a job and of an edge are those that Python code reads (`rules/flow_graph`).
"""

from __future__ import annotations

from typing import Self

from posthorse.rules.flow_graph import Graph, GraphEdge, GraphNode
from posthorse.views.base import View


class GraphView(View, frozen=True, kw_only=True):
    """The graph of a flow at one moment."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    critical_path: tuple[str, ...]
    is_whole: bool

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """Show a graph."""
        return cls(
            nodes=tuple(graph.nodes),
            edges=tuple(graph.edges),
            critical_path=tuple(graph.critical_path),
            is_whole=graph.is_whole,
        )
