"""The children of a running job, as its context offers them: added, and joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posthorse.errors import InvalidCall
from posthorse.worker.checkpoints.context_steps import ContextSteps

if TYPE_CHECKING:
    from posthorse.worker.checkpoints.children import Addable, Children, IfFailed
    from posthorse.worker.checkpoints.outputs import Outputs


class ContextChildren(ContextSteps):
    """The part of a context that adds children. Most jobs have none: what adds them is imported by the first one."""

    _children: Children | None = None

    def add(self, call: Addable, /, *, name: str | None = None) -> str:
        """Add a child: a job that this one is not over before. Return its id::

            ctx.add(render.bind(7))

        It is added once, however often this attempt is repeated: a later attempt finds it by its name. In
        `batch.transaction()` it is stored with the slice. It has the tenant of this job unless it has its own. When the
        code returns, the job is `blocked` until its children are over, and then failed if one of them failed.

        name: unique in the job, and the same in every attempt; by default `add` with the kind of the child, and from
            the second one on a number: `add render-2`.

        Raises InvalidOption for a call with a key, a connection or outputs, and for a name that this attempt had
        before; InvalidCall inside a slice, without its transaction and without a name; Interrupted, which must not be
        caught.
        """
        from posthorse.worker.checkpoints.children import checked_call

        self._journal.warn_in_loop("ctx.add(…)", "use `await ctx.aadd(…)`")
        return self._own_children().add([checked_call(call)], name, is_one=True)

    async def aadd(self, call: Addable, /, *, name: str | None = None) -> str:
        """Do the same as `add`, in a coroutine."""
        from posthorse.worker.checkpoints.children import checked_call

        return await self._own_children().aadd([checked_call(call)], name, is_one=True)

    def add_many(self, calls: Sequence[Addable], /, *, name: str | None = None) -> None:
        """Add children in one commit; see `add`. One name stands for all of them. At most 100,000 at once."""
        from posthorse.worker.checkpoints.children import checked_calls

        self._journal.warn_in_loop("ctx.add_many(…)", "use `await ctx.aadd_many(…)`")
        if checked := checked_calls(calls):
            self._own_children().add(checked, name, is_one=False)

    async def aadd_many(self, calls: Sequence[Addable], /, *, name: str | None = None) -> None:
        """Do the same as `add_many`, in a coroutine."""
        from posthorse.worker.checkpoints.children import checked_calls

        if checked := checked_calls(calls):
            await self._own_children().aadd(checked, name, is_one=False)

    def join(self, *, name: str | None = None, failed: IfFailed = "raise") -> Outputs:
        """Wait without a worker until all children are over; return what those completed that came after the last join.

        ::

            ctx.add_many([render.bind(number) for number in range(3)])
            pages = list(ctx.join())

        The attempt ends here, and the job goes on from its top when its children are over; nothing is spent. That they
        were joined is kept as a step.

        name: by default `join`, and then `join-2`.
        failed: "raise" raises ChildFailed if one of them is a dead letter; "skip" leaves it out, as one that was
            cancelled.

        Raises ChildFailed, which fails the job for good unless it is caught; Interrupted, which must not be caught;
        InvalidOption as `step` does.
        """
        from posthorse.worker.checkpoints.children import checked_if_failed

        self._journal.warn_in_loop("ctx.join()", "use `await ctx.ajoin()`")
        return self._own_children().join(name, checked_if_failed(failed))

    async def ajoin(self, *, name: str | None = None, failed: IfFailed = "raise") -> Outputs:
        """Do the same as `join`, in a coroutine; read what it returns with `async for`."""
        from posthorse.worker.checkpoints.children import checked_if_failed

        return await self._own_children().ajoin(name, checked_if_failed(failed))

    def _own_children(self) -> Children:
        if self._children is None:
            from posthorse.worker.checkpoints.children import Children  # here, because few jobs add children

            if self._is_cut:
                raise InvalidCall(
                    "a job with shards= waits for its parts, so it cannot add children of its own; let a job without "
                    "shards add them"
                )
            self._children = Children(self._journal, self._own_steps(), self.tenant)
        return self._children

    @property
    def _is_cut(self) -> bool:
        options = self._about.options
        return options.part is None and (options.shards or self._about.kind.options.shards) is not None
