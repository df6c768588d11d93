"""A node: one step of a flow, as `flow.add` returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from posthorse.rules.arguments.outputs import Output

if TYPE_CHECKING:
    from posthorse.rules.flows import FlowPlan

R = TypeVar("R", covariant=True)


class Node(Generic[R]):
    """One step of a flow. `R` is the type of what it returns.

    Pass `node.output` where the value would stand; pass the node itself as `after=` to run later than it.
    """

    def __init__(self, plan: FlowPlan, number: int) -> None:
        self.plan = plan
        self.number = number

    @property
    def name(self) -> str:
        """The name of the step, which no other step of the flow has."""
        return self.plan.steps[self.number].name

    @property
    def output(self) -> R:
        """What the step will return, to be passed to later steps: for a type checker it is the value itself.

        It is an argument by itself, or one of a list of outputs, which becomes the list of their values. It cannot be
        looked into before the step has run.
        """
        return cast("R", Output(self, f"output of step {self.name!r} of flow {self.plan.name!r}"))

    def __repr__(self) -> str:
        return f"<Node {self.name!r} of flow {self.plan.name!r}>"
