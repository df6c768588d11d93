"""The graph of a flow as it is now: its steps with their states and times, and what needs what. Pure.

The critical path is the chain of steps that decided when the flow ended, or how far it is: from the step that ended
last (or still runs) back to the one that it waited for longest, and so on to a step that waited for none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from posthorse.rules.job import State


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """One job of a graph. Times are aware, in UTC, on the store's clock.

    name: that of the step; of a job that is not a step, its kind. is_flow: whether it is a flow of its own.
    """

    id: str
    name: str
    kind: str
    state: State
    reason: str | None
    is_flow: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """`dependent` needs an end of `job`; both are ids.

    needs: "completed", "failed" or "over". is_met: whether that end came.
    """

    job: str
    dependent: str
    needs: str
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The jobs of a flow and what needs what, at one moment.

    nodes: in the order in which they were added; jobs from outside that steps need come first. critical_path: the ids
    of the jobs that decide when the flow ends. is_whole: False if there are more jobs than were asked for.
    """

    nodes: Sequence[GraphNode]
    edges: Sequence[GraphEdge]
    critical_path: Sequence[str]
    is_whole: bool


def make_graph(nodes: Sequence[GraphNode], edges: Collection[GraphEdge], *, is_whole: bool = True) -> Graph:
    """Make a graph of these nodes, with the edges among them."""
    known = {node.id: node for node in nodes}
    inside = [edge for edge in edges if edge.job in known and edge.dependent in known]
    return Graph(nodes=nodes, edges=inside, critical_path=critical_path(known, inside), is_whole=is_whole)


def critical_path(nodes: Mapping[str, GraphNode], edges: Collection[GraphEdge]) -> list[str]:
    """Return the ids of the jobs that decide when the flow ends, in their order; none before the first start."""
    needed: dict[str, list[GraphNode]] = {}
    for edge in edges:
        needed.setdefault(edge.dependent, []).append(nodes[edge.job])
    begun = [node for node in nodes.values() if _has_begun(node)]
    path: list[str] = []
    while begun:
        last = max(begun, key=_end)
        path.append(last.id)
        begun = [node for node in needed.get(last.id, ()) if _has_begun(node)]
    return path[::-1]


def chain_depths(nodes: Sequence[GraphNode], edges: Collection[GraphEdge]) -> dict[str, int]:
    """Return how many jobs come before each, in the longest chain."""
    sources: dict[str, list[str]] = {}
    for edge in edges:
        sources.setdefault(edge.dependent, []).append(edge.job)
    found: dict[str, int] = {}
    for node in sorted(nodes, key=lambda node: node.id):  # ids grow along every edge
        found[node.id] = max((1 + found.get(source, 0) for source in sources.get(node.id, ())), default=0)
    return found


def _has_begun(node: GraphNode) -> bool:
    """Return whether a job ran, or is a flow that has ended: a flow itself never starts."""
    return node.started_at is not None or (node.is_flow and node.finished_at is not None)


def _end(node: GraphNode) -> tuple[bool, datetime, str]:
    """Return a key by which the job that ends last is the largest: one that still runs ends after all others."""
    return node.finished_at is None, node.finished_at or node.started_at or node.created_at, node.id
