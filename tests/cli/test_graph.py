"""`posthorse show ID --graph`: the steps of a flow, each below what it needs."""

from __future__ import annotations

import sys
from typing import Any

import posthorse as ph
from tests.cli.conftest import Shop
from tests.waiting import until_state


def kind_of(shop: Shop, name: str) -> ph.Kind[..., Any]:
    assert shop.app is not None  # imports the module
    kind: ph.Kind[..., Any] = vars(sys.modules["shop"])[name]
    return kind


def test_the_graph_of_a_flow_is_shown_before_and_after_it_ran(any_shop: Shop) -> None:
    welcome, anything, broken = (kind_of(any_shop, name) for name in ("welcome", "anything", "broken"))
    flow = any_shop.app.workflow("greeting")
    first = flow.add(welcome, 1, step="first", after=())
    flow.add(anything.bind(first.output), step="second")
    flow.add(broken.using(max_attempts=1).bind("x"), after=first, step="third")
    flow.add(welcome.bind(2), after=flow.add(anything.bind(1), step="a"), needs="failed", step="never")
    job = flow.enqueue()
    before = any_shop.done("show", job.id, "--graph").splitlines()
    assert before[:2] == [f"◌ blocked  greeting  {job.id}  0 of 5", ""]
    assert [line.split()[:3] for line in before[2:]] == [
        ["○", "first", "pending"],
        ["○", "a", "pending"],
        ["◌", "second", "blocked"],
        ["◌", "third", "blocked"],
        ["◌", "never", "blocked"],
    ]
    with any_shop.working():
        until_state(job, "failed")
    after = any_shop.done("show", job.id, "--graph").splitlines()
    assert [line.split()[:2] for line in after[2:7]] == [
        ["✓", "first"],
        ["✓", "a"],
        ["✓", "second"],
        ["✗", "third"],
        ["⊘", "never"],
    ]
    assert "after first" in after[4]
    assert "after a (failed)" in after[6]
    assert after[-1].startswith("  ◆ decided how long it took: ")


def test_the_graph_as_json_has_states_edges_and_the_path(any_shop: Shop) -> None:
    welcome = kind_of(any_shop, "welcome")
    flow = any_shop.app.workflow("greeting")
    flow.add(welcome.bind(1), after=flow.add(welcome.bind(2)))
    shown: Any = any_shop.json("show", flow.enqueue().id, "--graph")
    assert list(shown) == ["nodes", "edges", "critical_path", "is_whole"]
    first, second = shown["nodes"]
    assert [(node["name"], node["state"]) for node in (first, second)] == [
        ("welcome", "pending"),
        ("welcome-2", "blocked"),
    ]
    assert shown["edges"] == [{"job": first["id"], "dependent": second["id"], "needs": "completed", "is_met": False}]
    assert (shown["critical_path"], shown["is_whole"]) == ([], True)


def test_a_job_without_edges_has_no_graph(any_shop: Shop) -> None:
    job = kind_of(any_shop, "welcome").enqueue(1)
    assert "no steps, and no job needs it" in any_shop.done("show", job.id, "--graph")
