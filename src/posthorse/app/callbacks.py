"""Callbacks: jobs that are stored with another one, and start once that has completed, or has failed for good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import msgspec

from posthorse import ids
from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.kind import Kind
from posthorse.app.submitting import Submission, asubmit, submit
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.outputs import ENDED, PREVIOUS, Filling
from posthorse.rules.in_flow import InFlow
from posthorse.rules.job import NewJob, Options
from posthorse.rules.joins import Edge, Need

if TYPE_CHECKING:
    from posthorse.app.job import Job

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class CallWithCallbacks(Call[R], Generic[R], frozen=True):
    """A call whose end starts other jobs. All are stored in one commit."""

    on_success: tuple[Call[Any], ...] = ()
    on_failure: tuple[Call[Any], ...] = ()

    def callbacks(self) -> Iterator[tuple[Call[Any], Need]]:
        """Yield the calls that its end starts, with the end that each needs."""
        for call in self.on_success:
            yield call, "completed"
        for call in self.on_failure:
            yield call, "failed"

    def enqueue(self) -> Job[R]:
        jobs: list[Job[Any]] = submit(self.app, with_callbacks([self]))
        return jobs[0]

    async def aenqueue(self) -> Job[R]:
        jobs: list[Job[Any]] = await asubmit(self.app, with_callbacks([self]))
        return jobs[0]


class KindWithCallbacks(Kind[P, R]):
    """A kind whose jobs have callbacks: what `using(on_success=…)` returns."""

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        call = super().bind(*args, **kwargs)
        own = self._changed
        if isinstance(call, CallWithOutputs):
            raise InvalidOption(
                f"{self.kind!r} takes an output and has a callback; in a flow, a callback is a step: "
                'flow.add(alert.bind(…), after=node, needs="failed")'
            )
        return CallWithCallbacks(
            call.app, call.template, call.connection, call.block, own.on_success or (), own.on_failure or ()
        )

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        return self.bind(*args, **kwargs).enqueue()

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        return await self.bind(*args, **kwargs).aenqueue()


def with_callbacks(calls: Sequence[Call[Any]]) -> Submission:
    """Return the jobs of calls, in their order, and then those of their callbacks, with the edges to them."""
    fresh = ids.new_ids(len(calls))
    jobs = [msgspec.structs.replace(call.template, id=job_id) for call, job_id in zip(calls, fresh, strict=True)]
    edges: list[Edge] = []
    for call, job_id in zip(calls, fresh, strict=True):
        further, needs = callbacks_of(call, job_id)
        jobs += further
        edges += needs
    return Submission(jobs, calls[0].connection, lambda: max(call.block for call in calls), edges)


def callbacks_of(call: Call[Any], job_id: str) -> tuple[list[NewJob], list[Edge]]:
    """Return the jobs that the end of a job starts, and those that their ends start, with the edges to them."""
    jobs: list[NewJob] = []
    edges: list[Edge] = []
    ending: list[tuple[Call[Any], str]] = [(call, job_id)]
    for each, ended in ending:
        if isinstance(each, CallWithCallbacks):
            for callback, needs in each.callbacks():
                started = ids.new_id()
                jobs.append(_callback(callback, started, ended, needs))
                edges.append(Edge(ended, started, needs))
                ending.append((callback, started))
    return jobs, edges


def _callback(call: Call[Any], job_id: str, ended: str, needs: Need) -> NewJob:
    """Return a callback that knows which job ended."""
    job = msgspec.structs.replace(call.template, id=job_id)
    if not isinstance(call, CallWithOutputs):
        return job
    known = {name: filling for name, filling in call.outputs.items() if filling is ENDED}
    taken = {name: filling for name, filling in call.outputs.items() if filling is PREVIOUS}
    _check_outputs(call, {**known, **taken}, needs)
    told = msgspec.json.encode(ended).decode()
    signature = call.app.registry[job.lane.kind].signature
    arguments = signature.filled_in(job.arguments, dict.fromkeys(known, told), is_whole=not taken)
    options = Options.decode(job.options)
    if taken:
        options = msgspec.structs.replace(options, flow=InFlow(inputs=dict.fromkeys(taken, ended)))
    return msgspec.structs.replace(job, arguments=arguments, options=options.encode())


def _check_outputs(call: CallWithOutputs[Any], usable: Mapping[str, Filling], needs: Need) -> None:
    kind = call.template.lane.kind
    for name, filling in call.outputs.items():
        if name not in usable:
            raise InvalidOption(
                f"{kind}(): argument {name} is {filling!r}, and a callback knows only the job that ended: ph.ended is "
                "its id, ph.previous its result"
            )
        if filling is PREVIOUS and needs != "completed":
            raise InvalidOption(
                f"{kind}(): argument {name} is ph.previous, and a job that failed has no result; take ph.ended, its id"
            )
