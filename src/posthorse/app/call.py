"""A call: a kind bound to arguments that were checked, to be enqueued or given to a flow, a schedule or a callback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from posthorse.app.enqueue_one import aenter, enter
from posthorse.errors import InvalidCall
from posthorse.rules.arguments.outputs import NO_OUTPUTS, Filling, Output
from posthorse.rules.job import NewJob

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.job import Job
    from posthorse.store.connections import UserConnection

R = TypeVar("R", covariant=True)


class Call(msgspec.Struct, Generic[R], frozen=True):
    """A kind bound to checked arguments. It can be enqueued any number of times; each time makes a new job."""

    app: Posthorse
    template: NewJob
    connection: UserConnection | None = None
    block: float = 0.0
    """Seconds to wait for room in a full queue."""

    def __repr__(self) -> str:
        return f"<Call {self.template.lane.kind!r}>"

    def enqueue(self) -> Job[R]:
        """Store the job of this call and return its handle; see `Kind.enqueue`."""
        return enter(self)

    async def aenqueue(self) -> Job[R]:
        """Store the job of this call, for a coroutine; see `enqueue`."""
        return await aenter(self)


class CallWithOutputs(Call[R], Generic[R], frozen=True):
    """A call in which outputs stand for the results of other jobs. Only a flow can store it."""

    outputs: Mapping[str, Filling] = NO_OUTPUTS
    """What fills the parameters that its stored arguments lack."""

    def enqueue(self) -> Job[R]:
        raise self.outside_of_flow()

    async def aenqueue(self) -> Job[R]:
        raise self.outside_of_flow()

    def outside_of_flow(self) -> InvalidCall:
        """Make the error for a call that is enqueued by itself."""
        name, filling = next(iter(self.outputs.items()))
        output = filling if isinstance(filling, Output) else filling[0]
        return InvalidCall(
            f"{self.template.lane.kind}(): argument {name} is the {output.words}, which only a flow can bring; add the "
            "call to the flow: flow.add(kind, …) or flow.add(kind.bind(…))"
        )
