"""Unfold a flow into the jobs that it is stored as, with the edges among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

import msgspec

from posthorse import ids
from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.callbacks import callbacks_of
from posthorse.app.node import Node
from posthorse.app.submitting import Submission
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.outputs import Output
from posthorse.rules.flows import FlowPlan, StepPlan
from posthorse.rules.in_flow import ITEMS, InFlow
from posthorse.rules.job import NewJob, Options
from posthorse.rules.joins import Edge, Need


class SubFlow(NamedTuple):
    """A flow as a step of another one: the job that it is stored as, and its own steps.

    list_of: the step whose result is a list, if its only step makes a job for each item of that.
    """

    call: Call[object]
    works: Works
    list_of: int | None = None


Work: TypeAlias = Call[object] | SubFlow
"""What a step does."""


class Works:
    """What the steps of a flow do, beside the plan that says how they depend on each other."""

    def __init__(self, plan: FlowPlan, *, gathers: bool = False) -> None:
        """`gathers`: whether they are the same for each item of a list, and their result is a list."""
        self.plan = plan
        self.gathers = gathers
        self.steps: list[Work] = []
        self.result: int | None = None
        """The step whose result is the flow's, if one was chosen."""

    @property
    def size(self) -> int:
        """How many jobs they are stored as, those of flows inside included."""
        return sum(1 if isinstance(step, Call) else 1 + step.works.size for step in self.steps)

    def all_works(self) -> Iterator[Works]:
        """Yield these, and those of all flows inside."""
        yield self
        for step in self.steps:
            if isinstance(step, SubFlow):
                yield from step.works.all_works()


def unfold(call: Call[object], works: Works) -> Submission:
    """Return the jobs of a flow, its own first. Each call gives them new ids. Raises InvalidOption."""
    unfolding = _Unfolding(1 + works.size)
    unfolding.add_flow(call.template, works, InFlow(), ())
    callbacks, edges = callbacks_of(call, unfolding.jobs[0].id)
    return Submission(
        [*unfolding.jobs, *callbacks],
        call.connection,
        lambda: call.block,
        [*unfolding.edges, *edges],
        frozenset(unfolding.parents),
    )


class _Unfolding:
    """The jobs and edges that were made so far."""

    def __init__(self, count: int) -> None:
        self.jobs: list[NewJob] = []
        self.edges: list[Edge] = []
        self.parents: list[str] = []
        self._ids = iter(ids.new_ids(count))

    def add_flow(
        self,
        template: NewJob,
        works: Works,
        place: InFlow,
        outer: Sequence[tuple[str, Need]],
        items: str | None = None,
    ) -> str:
        """Add a flow with its steps, and return its id.

        outer: what it needs of others, if it is a step itself. items: the job whose result its only step spreads.
        """
        flow, at = next(self._ids), len(self.jobs)
        self.jobs.append(template)  # replaced below, because a flow knows the step that gives its result
        self.parents.append(flow)
        steps: list[str] = []
        for plan, work in zip(works.plan.steps, works.steps, strict=True):
            sources: list[tuple[str, Need]] = [
                (steps[one.step] if isinstance(one.step, int) else one.step, one.needs) for one in plan.sources
            ]
            # A flow that is skipped takes along what would start without it: its first steps, and what tidies up.
            if plan.is_root or any(needs != "completed" for _, needs in sources):
                sources += outer
            job = _child(work.template if isinstance(work, Call) else work.call.template, template, flow, plan)
            here = InFlow(id=flow, step=plan.name)
            if isinstance(work, SubFlow):
                listed = None if work.list_of is None else steps[work.list_of]
                step = self.add_flow(job, work.works, here, sources, listed)
            else:
                step = next(self._ids)
                if not works.gathers:
                    here = msgspec.structs.replace(here, inputs=_inputs(work, steps))
                elif items is not None:
                    here = msgspec.structs.replace(place, inputs={ITEMS: items}, spreads=flow)
                else:
                    here = msgspec.structs.replace(place, step=f"{place.step}[{len(steps)}]", item=len(steps))
                self.jobs.append(_placed(job, step, here))
            self.edges += [Edge(source, step, needs) for source, needs in sources]
            steps.append(step)
        last = works.plan.only_leaf if works.result is None else works.result
        whole = msgspec.structs.replace(
            place,
            is_flow=True,
            gathers=works.gathers,
            result=None if last is None or works.gathers else steps[last],
        )
        self.jobs[at] = msgspec.structs.replace(_placed(template, flow, whole), run_at=None, delay=None)
        return flow


def _child(job: NewJob, flow: NewJob, parent: str, plan: StepPlan) -> NewJob:
    """Return a step with what it takes over from its flow: the tenant, the priority, and the time of first steps."""
    if job.tenant is None and flow.tenant is not None:
        if job.sequence is not None:
            raise InvalidOption(
                f"step {plan.name!r} is in a sequence, which each tenant has for itself; the flow has a tenant; give "
                f"it to the step as well: {job.lane.kind}.using(tenant={flow.tenant!r})"
            )
        job = msgspec.structs.replace(job, tenant=flow.tenant)
    if job.lane.priority == 0 and flow.lane.priority != 0:
        job = msgspec.structs.replace(job, lane=msgspec.structs.replace(job.lane, priority=flow.lane.priority))
    if plan.is_root and job.run_at is None and job.delay is None:
        job = msgspec.structs.replace(job, run_at=flow.run_at, delay=flow.delay)
    return msgspec.structs.replace(job, parent=parent)


def _placed(job: NewJob, job_id: str, place: InFlow) -> NewJob:
    """Return a job under its id, which knows its place in the flow."""
    options = msgspec.structs.replace(Options.decode(job.options), flow=place, tenant=job.tenant)
    return msgspec.structs.replace(job, id=job_id, options=options.encode())


def _inputs(call: Call[object], steps: Sequence[str]) -> dict[str, str | list[str]] | None:
    """Return which jobs fill the parameters that the stored arguments of a call lack."""
    if not isinstance(call, CallWithOutputs):
        return None

    def job_of(output: Output) -> str:
        return steps[cast("Node[object]", output.source).number]

    return {
        name: job_of(filling) if isinstance(filling, Output) else [job_of(output) for output in filling]
        for name, filling in call.outputs.items()
    }
