"""The steps of a running job, as its context offers them: called once, slept for, waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload

from posthorse.clock import microseconds
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.retry import Backoff
from posthorse.rules.topics import topic_of
from posthorse.worker.checkpoints.about_job import ContextAboutJob

if TYPE_CHECKING:
    from posthorse.worker.checkpoints.steps import AwaitedEvent, Steps

R = TypeVar("R")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

STEP_BACKOFF = Backoff()


class ContextSteps(ContextAboutJob):
    """The part of a context that runs steps. Most jobs have none: what runs them is imported by the first one."""

    _steps: Steps | None = None

    @overload
    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def step(
        self,
        name: str,
        function: Callable[[*Ts], R],
        /,
        *args: *Ts,
        attempts: int = 1,
        backoff: Backoff | Duration | Sequence[Duration] = STEP_BACKOFF,
    ) -> R: ...

    def step(  # type: ignore[misc]  # the function may take any names but the last two
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        attempts: int = 1,
        backoff: Backoff | Duration | Sequence[Duration] = STEP_BACKOFF,
        **kwargs: Any,
    ) -> Any:
        """Call `function(*args, **kwargs)` once, and keep its result; later attempts get that::

            paid = ctx.step("pay", charge, number)

        The result is committed with the checkpoint before this returns. What is returned is always the kept copy, with
        the types of kept values. A process that dies between the call and the commit lets the call be repeated, so give
        the other side a key. The job may be stopped before a step. It is a commit of its own, so it cannot be inside
        `batch.transaction()`.

        name: unique in the job, and the same in every attempt.
        attempts, backoff: how often the function is called before its error ends the attempt of the job, and how long
            to wait between two calls; the job keeps its worker meanwhile. Both are never passed to the function.

        Raises what the function raises; InvalidOption for a name that this attempt had before; UsageError for a result
        that cannot be kept; TooLarge if the steps of the job take more than 4 MiB together.
        """
        from posthorse.worker.checkpoints.steps import Tries

        self._journal.warn_in_loop(f"ctx.step({name!r}, …)", f"use `await ctx.astep({name!r}, …)`")
        return self._own_steps().run(name, partial(function, *args, **kwargs), Tries.of(attempts, backoff))

    @overload
    async def astep(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def astep(
        self,
        name: str,
        function: Callable[[*Ts], Awaitable[R]],
        /,
        *args: *Ts,
        attempts: int = 1,
        backoff: Backoff | Duration | Sequence[Duration] = STEP_BACKOFF,
    ) -> R: ...
    @overload
    async def astep(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def astep(
        self,
        name: str,
        function: Callable[[*Ts], R],
        /,
        *args: *Ts,
        attempts: int = 1,
        backoff: Backoff | Duration | Sequence[Duration] = STEP_BACKOFF,
    ) -> R: ...

    async def astep(  # type: ignore[misc]  # the function may take any names but the last two
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        attempts: int = 1,
        backoff: Backoff | Duration | Sequence[Duration] = STEP_BACKOFF,
        **kwargs: Any,
    ) -> Any:
        """Do the same as `step`, in a coroutine; an async function is awaited. Several steps may run at once::

        await asyncio.gather(ctx.astep("pay", charge, 1), ctx.astep("pack", pack, 1))
        """
        from posthorse.worker.checkpoints.steps import Tries

        return await self._own_steps().arun(name, partial(function, *args, **kwargs), Tries.of(attempts, backoff))

    def sleep(self, name: str, duration: Duration, /) -> None:
        """Wait without a worker: the attempt ends here, and the job goes on from its top when the time is over::

            ctx.sleep("cool down", "3d")

        The moment is kept as a step, by the store's clock, when the job comes here first; so an attempt that comes here
        again waits only for what is left. Nothing is spent. Code between steps runs again after it. A sleep of under a
        second waits here. Raises Interrupted, which must not be caught; InvalidOption as `step` does.
        """
        self._journal.warn_in_loop(f"ctx.sleep({name!r}, …)", f"use `await ctx.asleep({name!r}, …)`")
        self._own_steps().sleep(name, microseconds(as_timedelta(duration, name="the duration of a sleep")))

    async def asleep(self, name: str, duration: Duration, /) -> None:
        """Do the same as `sleep`, in a coroutine."""
        await self._own_steps().asleep(name, microseconds(as_timedelta(duration, name="the duration of a sleep")))

    def wait_event(self, name: str, /, *, timeout: Duration | None = None, topic: str | None = None) -> Any:  # noqa: ANN401  # whatever was sent
        """Wait for an event without a worker, and return its payload::

            approved = ctx.wait_event("approved", timeout="7d")
            app.send_event("approved", {"by": "eva"}, job=job_id)  # elsewhere, before or after

        The attempt ends here, and the job goes on from its top when the event was sent; nothing is spent. The payload
        is kept as a step.

        timeout: how long to wait, from when the job comes here first; None for ever, 0 to look only.
        topic: wait for an event that was sent to this topic, for all jobs that wait there; by default for one
            that was sent to this job.

        Raises EventTimeout if it did not come in time; Interrupted, which must not be caught; InvalidOption as `step`
        does.
        """
        self._journal.warn_in_loop(f"ctx.wait_event({name!r})", f"use `await ctx.await_event({name!r})`")
        return self._own_steps().wait_event(self._awaited(name, topic), _span(timeout))

    async def await_event(self, name: str, /, *, timeout: Duration | None = None, topic: str | None = None) -> Any:  # noqa: ANN401  # whatever was sent
        """Do the same as `wait_event`, in a coroutine."""
        return await self._own_steps().await_event(self._awaited(name, topic), _span(timeout))

    def _awaited(self, name: str, topic: str | None) -> AwaitedEvent:
        from posthorse.worker.checkpoints.steps import AwaitedEvent

        return AwaitedEvent(name, topic_of(name, topic or self.job_id, self.tenant), topic is None)

    def _own_steps(self) -> Steps:
        if self._steps is None:
            # Imported here, because jobs without steps need none of it.
            from posthorse.worker.checkpoints.steps import Steps

            self._steps = Steps(self._journal)
        return self._steps


def _span(timeout: Duration | None) -> int | None:
    return None if timeout is None else microseconds(as_timedelta(timeout, name="timeout"))
