"""Flows: the steps of a flow, the edges among them, and what each takes from earlier ones, before anything is stored.

A step can need only steps that were added before it, and jobs that are stored already, so no flow has a cycle. This
module is pure: it knows neither kinds nor stores, and steps are numbers to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from posthorse.errors import InvalidOption
from posthorse.rules.joins import NEEDS, Need
from posthorse.rules.values.type_mismatch import short

MAX_STEPS = MAX_EDGES = 100_000
"""How many steps and edges a flow may have. They are stored in one commit."""


class StepNeed(NamedTuple):
    """What a step needs: a step of its flow by number, or a stored job by id, and which end of it."""

    step: int | str
    needs: Need = "completed"


class StepPlan(NamedTuple):
    """One step: its name, and what it needs."""

    name: str
    sources: Sequence[StepNeed]

    @property
    def is_root(self) -> bool:
        """Whether it needs no other step of its flow."""
        return not any(isinstance(source.step, int) for source in self.sources)


class FlowPlan:
    """The steps of one flow, in the order in which they were added."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[StepPlan] = []
        self.edges = 0
        self._names: set[str] = set()
        self._alike: Counter[str] = Counter()

    def add(self, name: str | None, *, kind: str, taken: Iterable[int], after: Iterable[StepNeed]) -> int:
        """Add a step, and return its number.

        name: that of the step; without one it is called like its kind, and later ones "kind-2", "kind-3".
        taken: the steps whose outputs it takes, which must complete. after: what else it needs.
        Raises InvalidOption.
        """
        label = self._free_name(kind) if name is None else self._own_name(name)
        sources = self._merged(label, [*map(StepNeed, taken), *after])
        if len(self.steps) == MAX_STEPS or self.edges + len(sources) > MAX_EDGES:
            raise InvalidOption(
                f"flow {self.name!r} has {len(self.steps):,} steps with {self.edges:,} edges, and with the step "
                f"{label!r} it would have more than {MAX_STEPS:,}; put parts of it into flows of their own"
            )
        self._names.add(label)
        self.edges += len(sources)
        self.steps.append(StepPlan(label, sources))
        return len(self.steps) - 1

    @property
    def only_leaf(self) -> int | None:
        """The one step whose completion is the last of the flow; None if there are several.

        A step that needs a failure, or any end, tidies up, and does not count.
        """
        inner = {source.step for step in self.steps for source in step.sources if source.needs == "completed"}
        leaves = [
            number
            for number, step in enumerate(self.steps)
            if number not in inner and all(source.needs == "completed" for source in step.sources)
        ]
        return leaves[0] if len(leaves) == 1 else None

    def _own_name(self, name: str) -> str:
        if name in self._names:
            raise InvalidOption(f"flow {self.name!r} has a step {name!r} already; give each step a name of its own")
        return name

    def _free_name(self, kind: str) -> str:
        while True:
            self._alike[kind] += 1
            count = self._alike[kind]
            name = kind if count == 1 else f"{kind}-{count}"
            if name not in self._names:
                return name

    def _merged(self, label: str, sources: Collection[StepNeed]) -> Sequence[StepNeed]:
        """Return each source once. Raises InvalidOption if two different ends of one are needed."""
        needed: dict[int | str, Need] = {}
        for step, needs in sources:
            before = needed.setdefault(step, needs)
            if before != needs:
                source = step if isinstance(step, str) else self.steps[step].name
                raise InvalidOption(
                    f"step {label!r} of flow {self.name!r} needs {source!r} both {before} and {needs}, and no job ends "
                    "in two ways; a step that takes an output needs its step completed"
                )
        return [StepNeed(step, needs) for step, needs in needed.items()]


def checked_needs(value: object) -> Need:
    """Check which end a step needs. Raises InvalidOption."""
    for known in NEEDS:
        if value == known:
            return known
    raise InvalidOption(f"needs is {short(value)}; it must be {', '.join(map(repr, NEEDS[:-1]))} or {NEEDS[-1]!r}")
