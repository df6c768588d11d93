"""Flows before they are stored: names, needs, sizes, and that no cycle can be written down."""

from __future__ import annotations

import pytest

from posthorse.errors import InvalidOption
from posthorse.rules import flows
from posthorse.rules.flows import FlowPlan, StepNeed, StepPlan, checked_needs


def add(plan: FlowPlan, kind: str, *after: StepNeed, name: str | None = None, taken: tuple[int, ...] = ()) -> int:
    return plan.add(name, kind=kind, taken=taken, after=after)


def test_a_step_is_called_like_its_kind_and_later_ones_are_numbered() -> None:
    plan = FlowPlan("monthly")
    for kind in ("render", "render", "send", "render"):
        add(plan, kind)
    assert [step.name for step in plan.steps] == ["render", "render-2", "send", "render-3"]


def test_a_name_of_its_own_is_left_free_by_the_numbered_ones() -> None:
    plan = FlowPlan("monthly")
    add(plan, "send", name="render-2")
    add(plan, "render")
    add(plan, "render")
    assert [step.name for step in plan.steps] == ["render-2", "render", "render-3"]


def test_no_two_steps_have_one_name() -> None:
    plan = FlowPlan("monthly")
    add(plan, "render", name="pages")
    with pytest.raises(InvalidOption, match="flow 'monthly' has a step 'pages' already; give each step a name"):
        add(plan, "render", name="pages")
    assert len(plan.steps) == 1


def test_what_a_step_takes_and_what_it_runs_after_are_one_edge_each() -> None:
    plan = FlowPlan("monthly")
    first, second = add(plan, "a"), add(plan, "b")
    third = add(plan, "c", StepNeed(first), StepNeed(second), StepNeed("job"), StepNeed("job"), taken=(first, first))
    assert plan.steps[third] == StepPlan("c", [StepNeed(first), StepNeed(second), StepNeed("job")])
    assert plan.edges == 3


def test_one_step_cannot_need_two_ends_of_another() -> None:
    plan = FlowPlan("monthly")
    first = add(plan, "fetch")
    with pytest.raises(InvalidOption, match="'alarm' of flow 'monthly' needs 'fetch' both completed and failed"):
        add(plan, "alarm", StepNeed(first, "failed"), taken=(first,))
    with pytest.raises(InvalidOption, match="needs 'an-id' both over and failed"):
        add(plan, "alarm", StepNeed("an-id", "over"), StepNeed("an-id", "failed"))
    assert (len(plan.steps), plan.edges) == (1, 0)


def test_only_steps_that_were_added_before_can_be_needed() -> None:
    plan = FlowPlan("monthly")
    numbers = [add(plan, "a")]
    for _ in range(20):
        numbers.append(add(plan, "a", *map(StepNeed, numbers)))
    assert all(source.step < number for number in numbers for source in plan.steps[number].sources)  # type: ignore[operator]


def leaf_after(plan: FlowPlan, kind: str, *after: StepNeed) -> tuple[int, int | None]:
    """Add a step; return its number, and the only leaf of the flow since."""
    return add(plan, kind, *after), plan.only_leaf


def test_the_only_leaf_is_the_step_whose_completion_comes_last() -> None:
    plan = FlowPlan("monthly")
    assert plan.only_leaf is None
    first, leaf = leaf_after(plan, "fetch")
    assert leaf == first
    last, leaf = leaf_after(plan, "send", StepNeed(first))
    assert leaf == last
    assert leaf_after(plan, "tidy_up", StepNeed(last, "over"))[1] == last
    assert leaf_after(plan, "apologise", StepNeed(last, "failed"))[1] == last
    assert leaf_after(plan, "count", StepNeed(first))[1] is None


def test_a_root_needs_no_step_of_its_flow_but_may_need_other_jobs() -> None:
    plan = FlowPlan("monthly")
    first = add(plan, "a", StepNeed("job"))
    second = add(plan, "b", StepNeed(first))
    assert (plan.steps[first].is_root, plan.steps[second].is_root) == (True, False)


def test_the_number_of_steps_and_edges_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_STEPS", 3)
    monkeypatch.setattr(flows, "MAX_EDGES", 2)
    plan = FlowPlan("wide")
    first = add(plan, "a")
    add(plan, "b", StepNeed(first))
    with pytest.raises(InvalidOption, match="would have more than 3; put parts of it into flows of their own"):
        add(plan, "c", StepNeed(0), StepNeed(1))
    add(plan, "c", StepNeed(0))
    with pytest.raises(InvalidOption, match="flow 'wide' has 3 steps with 2 edges, and with the step 'd'"):
        add(plan, "d")


def test_a_hundred_thousand_edges_are_planned() -> None:
    plan = FlowPlan("wide")
    first = add(plan, "a")
    for _ in range(flows.MAX_STEPS - 1):
        add(plan, "b", StepNeed(first))
    assert (len(plan.steps), plan.edges) == (100_000, 99_999)


@pytest.mark.parametrize("needs", ["completed", "failed", "over"])
def test_these_ends_can_be_needed(needs: str) -> None:
    assert checked_needs(needs) == needs


@pytest.mark.parametrize("needs", ["done", "cancelled", None, 7, "Completed"])
def test_no_other_end_can_be_needed(needs: object) -> None:
    with pytest.raises(InvalidOption, match="it must be 'completed', 'failed' or 'over'"):
        checked_needs(needs)
