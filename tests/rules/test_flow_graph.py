"""The graph of a flow: the critical path is what decided its end, and each step lies below what it needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from posthorse.rules.flow_graph import GraphEdge, GraphNode, chain_depths, make_graph
from posthorse.rules.job import State

BEGIN = datetime(2026, 12, 1, tzinfo=UTC)


def node(name: str, started: int | None = None, finished: int | None = None, *, is_flow: bool = False) -> GraphNode:
    return GraphNode(
        id=name,
        name=name,
        kind="kind",
        state=State.PENDING,
        reason=None,
        is_flow=is_flow,
        created_at=BEGIN,
        started_at=None if started is None else BEGIN + timedelta(seconds=started),
        finished_at=None if finished is None else BEGIN + timedelta(seconds=finished),
    )


def edges(*pairs: str) -> list[GraphEdge]:
    return [GraphEdge(job=pair[0], dependent=pair[1], needs="completed", is_met=True) for pair in pairs]


PATHS = {
    "nothing began": ([node("a"), node("b")], ["ab"], ""),
    "a chain": ([node("a", 0, 1), node("b", 2, 3)], ["ab"], "ab"),
    "the slower of two": ([node("a", 0, 9), node("b", 0, 2), node("c", 9, 10)], ["ac", "bc"], "ac"),
    "the last to end, wherever it is": ([node("a", 0, 1), node("b", 1, 2), node("c", 0, 5)], ["ab"], "c"),
    "one that still runs": ([node("a", 0, 1), node("b", 1), node("c", 0, 5)], ["ab"], "ab"),
    "a skipped one does not count": ([node("a", 0, 1), node("b", None, 9)], ["ab"], "a"),
    "a flow counts once it is over": ([node("a", 0, 1), node("b", None, 9, is_flow=True)], ["ab"], "ab"),
    "a flow inside that is not over": ([node("a", 0, 1), node("b", None, None, is_flow=True)], ["ab"], "a"),
}


@pytest.mark.parametrize("name", PATHS)
def test_the_critical_path_leads_back_from_the_end_to_a_first_step(name: str) -> None:
    nodes, pairs, path = PATHS[name]
    assert "".join(make_graph(nodes, edges(*pairs)).critical_path) == path


def test_edges_to_jobs_that_are_not_shown_are_left_out() -> None:
    graph = make_graph([node("b", 0, 1)], edges("ab", "bc"))
    assert (graph.edges, graph.critical_path) == ([], ["b"])


def test_each_step_lies_below_all_that_it_needs() -> None:
    nodes = [node(name) for name in "abcd"]
    assert chain_depths(nodes, edges("ab", "bc", "ac", "ad")) == {"a": 0, "b": 1, "c": 2, "d": 1}
