"""Flows as users build them: steps that take the outputs of others, stored together and run in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar, Unpack, cast, overload

import msgspec

from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.callbacks import CallWithCallbacks
from posthorse.app.flow_jobs import SubFlow, Works, unfold
from posthorse.app.job import Job
from posthorse.app.kind import Kind
from posthorse.app.node import Node
from posthorse.app.submitting import asubmit, submit
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.outputs import NO_OUTPUTS, PREVIOUS, Filling, Output
from posthorse.rules.flows import FlowPlan, StepNeed, checked_needs
from posthorse.rules.in_flow import OF_ITEMS
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.joins import Need
from posthorse.rules.registry import KindOptions, register
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.option_types import UsingOptions

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class TakesOne(Protocol[T_contra, R_co]):
    """A kind that can be called with one argument."""

    def bind(self, item: T_contra, /) -> Call[R_co]:
        """Check the argument, and return a call."""
        ...


After: TypeAlias = Node[Any] | Job[Any] | Sequence[Node[Any] | Job[Any]]
"""What a step runs after: steps of its flow, and jobs that exist already."""

WORDS = ("after", "needs", "step")
"""What a step is told beside its arguments."""

OF_STEPS = ("backoff", "expires", "max_attempts", "sequence", "timeout", "unique")
"""Options that concern the code of a job, which a flow does not have."""


class Flow:
    """Work made of many jobs: add its steps, then store it with `enqueue`, as often as you like.

    ::

        flow = app.workflow("monthly")
        orders = flow.add(fetch_orders, month="2026-11")
        book = flow.add(bind_book, orders.output)
        flow.add(send, book.output)
        job = flow.using(key="2026-11").enqueue()

    A flow is stored as a job without code, whose children are its steps. It ends when they are over.
    """

    def __init__(self, app: Posthorse, kind: Kind[..., object], context: Mapping[str, object], works: Works) -> None:
        self._app = app
        self._kind = kind
        self._context = context
        self._works = works

    @property
    def name(self) -> str:
        """Its name, which is the kind of the jobs that it is stored as."""
        return self._works.plan.name

    @property
    def result(self) -> object:
        """What the flow returns: the output of a step. By default that of the only step that no other one needs.

        Set it: `flow.result = book.output`. If several steps come last, and none was chosen, the flow returns None.
        """
        chosen = self._works.result
        return None if chosen is None else Node[object](self._works.plan, chosen).output

    @result.setter
    def result(self, output: object) -> None:
        self._works.result = self._step_of(output, "the result of a flow")

    @overload
    def add(
        self, call: Call[R], /, *, after: After = (), needs: Need = "completed", step: str | None = None
    ) -> Node[R]: ...
    @overload
    def add(
        self, flow: Flow, /, *, after: After = (), needs: Need = "completed", step: str | None = None
    ) -> Node[object]: ...
    @overload
    def add(self, kind: Kind[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Node[R]: ...
    @overload
    def add(
        self,
        kind: Kind[..., R],
        /,
        *args: object,
        after: After,
        needs: Need = "completed",
        step: str | None = None,
        **kwargs: object,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        kind: Kind[..., R],
        /,
        *args: object,
        step: str,
        after: After = (),
        needs: Need = "completed",
        **kwargs: object,
    ) -> Node[R]: ...

    def add(self, work: Any, /, *args: object, **kwargs: object) -> Node[Any]:  # the overloads say more
        """Add a step: a kind with its arguments, a call (`kind.bind(…)`), or another flow.

        An argument may be the output of an earlier step, or a list of outputs; the step then runs after these. The
        types of arguments are checked now, those of outputs when they are there.

        after: earlier steps, or jobs that exist already, which must end before.
        needs: what must become of all that is named in `after`: "completed", "failed", or "over" for whatever end. If
            that cannot be any more, the step is cancelled, with the reason `skipped: …`.
        step: its name in the flow; without one it is called like its kind.

        If the kind itself takes an argument of such a name, `kind.bind(…)` tells the two apart. Raises InvalidArgument,
        InvalidOption.
        """
        if isinstance(work, Kind):
            told = self._told(cast("Kind[..., object]", work), kwargs)
            work = cast("Kind[..., object]", work).bind(
                *args, **{name: value for name, value in kwargs.items() if name not in told}
            )
        else:
            told = kwargs
            if args or not told.keys() <= set(WORDS):
                raise InvalidOption(
                    f"flow.add takes the arguments of a kind, and {short(work)} is bound already; beside it, give only "
                    f"{', '.join(f'{word}=' for word in WORDS)}"
                )
        return self._add(work, told)

    def map(
        self,
        kind: TakesOne[T, R],
        items: Sequence[T],
        /,
        *,
        after: After = (),
        needs: Need = "completed",
        step: str | None = None,
    ) -> Node[list[R]]:
        """Add a step that runs a kind for each item of a list, all at the same time: `flow.map(render, pages.output)`.

        items: a list of values, or the output of a step that returns a list. Then the jobs are made when that is there,
        in slices of a thousand, however many there are.

        The output is the list of their results, in the order of the items; those of jobs that were skipped are left
        out. The step completes when all have, and an empty list completes at once. The others are those of `add`.
        Raises InvalidArgument, InvalidOption.
        """
        given: object = items
        told = {"after": after, "needs": needs, "step": step}
        if isinstance(given, Output):
            call = self._checked_call(kind.bind(cast("T", given)))
            if call.template.sequence is not None:
                raise InvalidOption(
                    f"{call.template.lane.kind!r} is in a sequence, whose order the jobs of a list could not keep; "
                    "leave it out, or add one step that loops over the list"
                )
            works = _works_of_items([call])
            return self._put(SubFlow(_for_items(call), works, self._step_of(given, "a list")), told, [given])
        if not isinstance(given, list | tuple | range):
            raise InvalidOption(f"items is {short(given)}; give a list, or the output of a step that returns one")
        calls = [self._checked_call(kind.bind(item)) for item in items]
        for call in calls:
            if isinstance(call, CallWithOutputs):
                raise InvalidOption("a list of outputs has no common list; add a step for each")
        if not calls:
            raise InvalidOption("items is empty; leave the step out, or take the list from a step")
        return self._put(SubFlow(_for_items(calls[0]), _works_of_items(calls)), told, [])

    def using(self, /, **options: Unpack[UsingOptions]) -> Flow:
        """Return the same flow with other options for the job that it is stored as; its steps stay shared.

        `flow.using(key="2026-11", tags=["books"]).enqueue()`: a key, tags, metadata, a tenant, a priority, a queue, a
        connection, and a delay or a time at which its first steps may start. Steps take its tenant and its priority
        unless they have their own. Raises InvalidOption.
        """
        for name in OF_STEPS:
            if options.get(name) is not None:
                raise InvalidOption(
                    f"a flow has no code, so {name} belongs to its steps: flow.add(kind.using({name}=…), …)"
                )
        return Flow(self._app, self._kind.using(**options), self._context, self._works)

    def enqueue(self) -> Job[object]:
        """Store the flow with all its steps in one commit, and return the handle of its job.

        The job ends when all steps are over: completed, or failed if a step failed for good. Its result is that of a
        step; see `result`. Raises the errors of `Kind.enqueue`.
        """
        return submit(self._app, unfold(self._call(), self._works))[0]

    async def aenqueue(self) -> Job[object]:
        """Store the flow for a coroutine; see `enqueue`."""
        return (await asubmit(self._app, unfold(self._call(), self._works)))[0]

    def __repr__(self) -> str:
        return f"<Flow {self.name!r} of {len(self._works.plan.steps)} steps>"

    def _call(self) -> Call[object]:
        return self._kind.bind(**self._context)

    def _told(self, kind: Kind[..., object], kwargs: Mapping[str, object]) -> Mapping[str, object]:
        """Return what concerns the step itself, among the arguments of its kind."""
        given = [word for word in WORDS if word in kwargs]
        if not given:
            return {}
        signature = self._app.registry[kind.kind].signature
        return {word: kwargs[word] for word in given if not signature.takes(word)}

    def _add(self, work: object, told: Mapping[str, object]) -> Node[Any]:
        step = self._checked_flow(work) if isinstance(work, Flow) else self._checked_call(work)
        outputs = step.outputs if isinstance(step, CallWithOutputs) else NO_OUTPUTS
        return self._put(step, told, [*_flat(outputs)])

    def _put(self, step: Call[object] | SubFlow, told: Mapping[str, object], outputs: Sequence[Output]) -> Node[Any]:
        """Put a checked step into the plan."""
        name = told.get("step")
        if name is not None:
            checked_name(name, what="the name of a step")
        needs = checked_needs(told.get("needs", "completed"))
        after = [self._source(each, needs) for each in _listed(told.get("after", ()))]
        if needs != "completed" and not after:
            raise InvalidOption(f"needs={needs!r} says what must become of the steps in `after`, and none is given")
        taken = [self._step_of(output, "an argument") for output in outputs]
        kind = (step.call if isinstance(step, SubFlow) else step).template.lane.kind.removesuffix(OF_ITEMS)
        number = self._works.plan.add(cast("str | None", name), kind=kind, taken=taken, after=after)
        self._works.steps.append(step)
        return Node(self._works.plan, number)

    def _checked_flow(self, flow: Flow) -> SubFlow:
        """Check a flow that is added, and return it as a step. Raises InvalidOption."""
        if any(works is self._works for works in flow._works.all_works()):
            raise InvalidOption(f"flow {self.name!r} is a part of flow {flow.name!r}, so that cannot be a step of it")
        return SubFlow(self._checked_call(flow._call()), flow._works)

    def _checked_call(self, work: object) -> Call[object]:
        """Check a call that is added. Raises InvalidOption."""
        if not isinstance(work, Call):
            raise InvalidOption(
                f"flow.add takes a kind with its arguments, a call or a flow, not {short(work)}; decorate the function "
                "with @app.job: flow.add(report, 7)"
            )
        call = cast("Call[object]", work)
        kind = call.template.lane.kind
        if call.app is not self._app:
            raise InvalidOption(f"{kind!r} belongs to another application")
        if call.connection is not None:
            raise InvalidOption("a flow is stored as a whole: give the connection to it, flow.using(connection=…)")
        if isinstance(call, CallWithCallbacks):
            raise InvalidOption(
                f"{kind!r} has a callback; in a flow that is a step: "
                "flow.add(alert.bind(…), after=node, needs='failed')"
            )
        if call.template.key is not None or call.template.unique is not None:
            raise InvalidOption(
                f"{kind!r} has a key or is unique, so the step might be an earlier job, which the flow could not feed; "
                f"give the key to the whole flow, flow.using(key=…), and add {kind}.using(unique=False)"
            )
        return call

    def _source(self, given: object, needs: Need) -> StepNeed:
        if isinstance(given, Job):
            return StepNeed(cast("Job[object]", given).id, needs)
        if isinstance(given, Node):
            return StepNeed(self._number(cast("Node[object]", given)), needs)
        raise InvalidOption(f"after is {short(given)}; give steps of this flow, as flow.add returns them, or jobs")

    def _step_of(self, output: object, what: str) -> int:
        if isinstance(output, Output) and isinstance(node := output.source, Node):
            return self._number(cast("Node[object]", node))
        raise InvalidOption(f"{what} must be the output of a step of this flow, node.output; got {short(output)}")

    def _number(self, node: Node[object]) -> int:
        if node.plan is not self._works.plan:
            raise InvalidOption(
                f"step {node.name!r} belongs to flow {node.plan.name!r} and not to {self.name!r}; add that flow as a "
                "step of this one, and take its output"
            )
        return node.number


def _for_items(call: Call[object]) -> Call[object]:
    """Return the job that stands for those of the items of a list, which is none of the kind itself."""
    job = call.template
    lane = msgspec.structs.replace(job.lane, kind=f"{job.lane.kind}{OF_ITEMS}", keyed=False)
    whole = NewJob(id="", lane=lane, arguments="{}", tenant=job.tenant, tags=job.tags)
    return Call(call.app, whole)


def _works_of_items(calls: Sequence[Call[object]]) -> Works:
    kind = calls[0].template.lane.kind
    works = Works(FlowPlan(f"{kind}{OF_ITEMS}"), gathers=True)
    for call in calls:
        works.plan.add(None, kind=kind, taken=(), after=())
        works.steps.append(call)
    return works


def make_flow(app: Posthorse, name: str, context: Mapping[str, object] | None) -> Flow:
    """Make a flow without steps. Raises InvalidOption."""
    checked_name(name, what="the name of a flow")
    if name in app.registry:
        raise InvalidOption(f"{name!r} is a kind of this application; give the flow another name")
    registered = register(_no_code, kind=name, options=KindOptions(), context_type=Context)
    kind = Kind[..., object](app, registered)
    given = _checked_context({} if context is None else context)
    kind.bind(**given)  # whatever cannot be stored is refused here
    return Flow(app, kind, given, Works(FlowPlan(name)))


def make_chain(app: Posthorse, calls: Sequence[Call[Any]], name: str) -> Flow:
    """Make a flow of calls that run one after the other. Raises InvalidOption."""
    if not calls:
        raise InvalidOption("a chain needs calls: app.chain(fetch.bind(1), send.bind(ph.previous))")
    flow = make_flow(app, name, None)
    last: Node[Any] | None = None
    for call in calls:
        if isinstance(call, CallWithOutputs):
            call = _after_previous(call, last)
        last = flow.add(call, after=() if last is None else last)
    return flow


def _after_previous(call: CallWithOutputs[Any], last: Node[Any] | None) -> Call[Any]:
    """Return a call that takes the output of the step before it where it said `ph.previous`."""
    if last is None:
        raise InvalidOption(f"{call.template.lane.kind!r} comes first in its chain, so there is no ph.previous")
    filled = {name: last.output if filling is PREVIOUS else filling for name, filling in call.outputs.items()}
    return msgspec.structs.replace(call, outputs=filled)


def _checked_context(context: object) -> dict[str, object]:
    shown = short(context)
    if isinstance(context, Mapping):
        named = dict(cast("Mapping[object, object]", context))
        if all(isinstance(word, str) for word in named):
            return cast("dict[str, object]", named)
    raise InvalidOption(f"context is {shown}; give a dict by name: context={{'user_id': 456}}")


def _no_code(**context: Any) -> None:  # noqa: ANN401  # anything that JSON has
    """Stand for the code that a flow does not have; its arguments are the context that its steps share."""


def _listed(after: object) -> Iterable[object]:
    return cast("Iterable[object]", after) if isinstance(after, list | tuple) else (after,)


def _flat(outputs: Mapping[str, Filling]) -> Iterable[Output]:
    for filling in outputs.values():
        yield from (filling,) if isinstance(filling, Output) else filling
