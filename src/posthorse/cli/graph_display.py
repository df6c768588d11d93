"""`posthorse show ID --graph`: the steps of a flow, each below what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from posthorse.app.client import Posthorse
from posthorse.app.graph import read_graph
from posthorse.app.verbs import drive
from posthorse.cli.job_lookup import look_at, short
from posthorse.cli.screen import clean, out, out_json, out_rich, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.wording import MARKS, amount, span
from posthorse.rules.flow_graph import Graph, GraphEdge, GraphNode, chain_depths
from posthorse.views.graph import GraphView

if TYPE_CHECKING:
    from rich.text import Text

MAX_SHOWN = 1_000
NAMED = 3
"""How many of the jobs that a step needs are named on its line."""

ON_PATH = "◆"


def show_graph(app: Posthorse, job: str, *, as_json: bool) -> None:
    """Print the graph of a job."""
    graph = drive(read_graph(app, job, MAX_SHOWN))
    if as_json:
        out_json(GraphView.of(graph))
    else:
        _print(app, job, graph)


def _print(app: Posthorse, job: str, graph: Graph) -> None:
    from rich.text import Text

    status, now = look_at(app, job)
    mark, style = MARKS[status.state]
    head = Text.assemble((f"{mark} {status.state.value}", f"{style} bold"), (f"  {clean(status.kind)}", "bold"))
    head.append(f"  {status.id}")
    if status.progress.total:
        head.append(f"  {amount(status.progress)}")
    out_rich(head)
    out()
    if not graph.nodes:
        out("  no steps, and no job needs it")
        return
    out_table(
        (
            Column("STEP", least=12),
            Column("STATE"),
            Column("TOOK", rank=2),
            Column("AFTER", least=8, rank=1),
            Column("ID"),
        ),
        _rows(graph, now),
        indent=2,
        has_headings=False,
    )
    if graph.critical_path:
        names = {node.id: node.name for node in graph.nodes}
        out()
        out(f"  {ON_PATH} decided how long it took: {' → '.join(clean(names[id]) for id in graph.critical_path)}")
    if not graph.is_whole:
        say(f"these are the first {MAX_SHOWN:,} steps")


def _rows(graph: Graph, now: datetime) -> Sequence[Sequence[Text | str]]:
    from rich.text import Text

    names = {node.id: node.name for node in graph.nodes}
    depth = chain_depths(graph.nodes, graph.edges)
    sources: dict[str, list[GraphEdge]] = {}
    for edge in graph.edges:
        sources.setdefault(edge.dependent, []).append(edge)
    rows: list[Sequence[Text | str]] = []
    for node in sorted(graph.nodes, key=lambda node: (depth[node.id], node.id)):
        mark, style = MARKS[node.state]
        on_path = f" {ON_PATH}" if node.id in graph.critical_path else ""
        rows.append(
            (
                Text.assemble("  " * depth[node.id], (f"{mark} ", style), clean(node.name), (on_path, "bold")),
                Text(node.state.value, style=style),
                _took(node, now),
                _needs(sources.get(node.id, []), names),
                short(node.id),
            )
        )
    return rows


def _took(node: GraphNode, now: datetime) -> str:
    return "" if node.started_at is None else span((node.finished_at or now) - node.started_at)


def _needs(edges: Sequence[GraphEdge], names: Mapping[str, str]) -> str:
    """Return what a job needs, as text: "after fetch, render (over)"."""
    if not edges:
        return ""
    told = [names[edge.job] + ("" if edge.needs == "completed" else f" ({edge.needs})") for edge in edges[:NAMED]]
    more = f" and {len(edges) - NAMED:,} more" if len(edges) > NAMED else ""
    return f"after {', '.join(map(clean, told))}{more}"
