"""The context of a running job: its identity, its progress, and its loops in slices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, TypeVarTuple, cast, overload

from msgspec.structs import replace

from posthorse import ids
from posthorse.clock import microseconds, moment, monotonic
from posthorse.errors import Interrupted, InvalidOption, PosthorseError
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import Lane, Options, checked_name
from posthorse.rules.progress import Progress
from posthorse.rules.registry import Registered
from posthorse.rules.retry import Backoff
from posthorse.rules.topics import topic_of
from posthorse.worker.checkpoints.journal import Journal

if TYPE_CHECKING:
    from posthorse.rules.throttle import ThrottleGiven
    from posthorse.worker.checkpoints.flow_step import FlowStep
    from posthorse.worker.checkpoints.slices import Slices
    from posthorse.worker.checkpoints.sources import AsyncSource, QuerySetOf, Source
    from posthorse.worker.checkpoints.splitting import Sharding
    from posthorse.worker.checkpoints.steps import Awaited, Steps

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
K = TypeVar("K")

MAX_SLICE = 1_000_000
MAX_NOTE = 500
STEP_BACKOFF = Backoff()


class Keep:
    """Kept values: `keep(name, initial)` returns the value, which is committed with the cursor after every slice."""

    def __init__(self, journal: Journal) -> None:
        self._kept = journal.state.kept

    def __call__(self, name: str, initial: K) -> K:
        """Return the kept value of this name, or `initial` the first time. Change it in place."""
        return cast("K", self._kept.get(name, initial))

    def set(self, name: str, value: object) -> None:
        """Replace a kept value that cannot be changed in place, such as a number."""
        self._kept.replace(name, value)


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger bound to a job: what a call gives as `extra=` is added to what names the job."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        """Add the fields of the job to those of the call; the base class would replace them."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class AboutJob(NamedTuple):
    """What a worker knows about a job from its claim and its code, without another look into the store."""

    job: str
    attempt: int
    lane: Lane
    options: Options
    kind: Registered


class Context:
    """The first parameter of a job that wants one. Use it only while the job runs, in the job's own thread or task."""

    def __init__(self, journal: Journal, about: AboutJob) -> None:
        self.job_id = about.job
        self.kind = about.kind.kind
        """The name of the kind, as the code of this worker declares it."""
        self.queue = about.lane.queue
        self.attempt = about.attempt
        """Counts from 1; only errors count, not lost workers or deploys."""
        self.keep = Keep(journal)
        known = {"job_id": about.job, "kind": about.kind.kind, "attempt": about.attempt}
        self.log = JobLogger(logging.getLogger("posthorse.job"), known)
        """The logger `posthorse.job`; its records have `job_id`, `kind` and `attempt`, beside what `extra=` gives."""
        self._about = about
        self._journal = journal
        self._is_async = about.kind.is_async
        self._saved_at = monotonic()
        self._saving: set[asyncio.Task[None]] = set()
        self._loops: set[str] = set()
        self._steps: Steps | None = None

    @property
    def max_attempts(self) -> int:
        """How many errors end the job."""
        return self._about.options.max_attempts or self._about.kind.options.max_attempts

    @property
    def tenant(self) -> str | None:
        """Whose job it is."""
        return self._about.options.tenant or self._about.lane.tenant or None

    @property
    def tags(self) -> tuple[str, ...]:
        """The names to find it by."""
        given = self._about.options.tags
        return self._about.kind.options.tags if given is None else given

    @property
    def key(self) -> str | None:
        """The key that it was enqueued with; None without one."""
        return self._about.options.key

    @property
    def metadata(self) -> dict[str, Any]:
        """What travels with the job: a copy, whose changes are not stored."""
        return deepcopy(self._about.options.metadata or {})

    @property
    def flow(self) -> FlowStep | None:
        """Its place in the flow that it is a step of, with what the steps before it left; None outside of flows."""
        place = self._about.options.flow
        if place is None or place.id is None:
            return None
        from posthorse.worker.checkpoints.flow_step import FlowStep  # here, because few jobs are steps of flows

        return FlowStep(self._journal, self.job_id, place)

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, in UTC, by the clock of the process that did so."""
        return moment(ids.milliseconds_of(self.job_id) * 1000)

    @property
    def scheduled_at(self) -> datetime | None:
        """The scheduled time that the job is for, in UTC; None if no schedule enqueued it."""
        at = self._about.options.scheduled_at
        return None if at is None else moment(at)

    @property
    def shard(self) -> int | None:
        """The number of the part of a job that was cut into parts, from 0; None in a job that was not."""
        part = self._about.options.part
        return None if part is None else part.number

    @property
    def stop_requested(self) -> bool:
        """True if the job should stop at its next checkpoint."""
        return self._journal.stop.is_due

    @property
    def progress(self) -> Progress:
        """How far the job is, without a forecast."""
        state = self._journal.state
        return Progress(done=state.done, total=state.total, note=state.note)

    @overload
    def slices(
        self,
        source: Source[T] | AsyncSource[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]: ...
    @overload
    def slices(
        self,
        source: Sequence[T] | QuerySetOf[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]: ...

    def slices(
        self,
        source: Source[T] | AsyncSource[T] | Sequence[T] | QuerySetOf[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]:
        """Loop over batches of at most `size` items. Asking for the next batch commits this one and the job's position.

        Write `for batch in ctx.slices(range(10_000)): …`, or `async for`. The job may be stopped between two slices,
        and then resumes there. If a job has two loops, they need names.

        slice_time: how long a slice should take; its size is adapted to that, up to `size`.
        time_box: after this time, the job lets others use its worker, and resumes later.
        tolerate: how many bad items `batch.tolerate(…)` may record: a count such as 100, or a share such as "1%".
        throttle: what must be calm before each slice, beside the throttle of the queue: a ph.Throttle, a rate of items
            such as "500/s", or a plain or async function that returns False, True, a text that says why, or seconds.

        Raises InvalidOption; InvalidSource for what cannot be resumed.
        """
        # Imported here, because jobs without loops, and processes that only enqueue, need no sources.
        from posthorse.rules.slice_size import SizeRule
        from posthorse.rules.throttle import as_throttle
        from posthorse.rules.tolerance import as_tolerance
        from posthorse.worker.checkpoints.batch import LoopPlan
        from posthorse.worker.checkpoints.slices import Slices

        _check_size(size)
        label = _checked_label(name)
        if label in self._loops:
            named = f"named {label!r}" if label else "without a name"
            raise InvalidOption(
                f'this job has two loops {named}; give each a name of its own, as ctx.slices(…, name="users"), so that '
                "it finds its place again"
            )
        self._loops.add(label)
        self._journal.state.declare(label)
        sizes = SizeRule(size, None if slice_time is None else _seconds(slice_time, "slice_time", above=0))
        box = None if time_box is None else _seconds(time_box, "time_box")
        plan = LoopPlan(label, sizes, as_tolerance(tolerate), box)
        if throttle is not None and self._journal.has_throttles:
            plan = replace(plan, throttle=as_throttle(throttle))
        return Slices(self._journal, source, plan, self._sharding())

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

    def _sharding(self) -> Sharding | None:
        options = self._about.options
        shards = options.shards or self._about.kind.options.shards
        if options.part is None and shards is None:
            return None
        from posthorse.worker.checkpoints.splitting import Sharding  # here, because few jobs are cut into parts

        return Sharding(shards, options.part)

    def set_progress(self, done: int, total: int | None = None, *, note: str | None = None) -> None:
        """Report how far the job is, if it has no slices. Saved at most once a second."""
        self._journal.state.tell(
            _checked_count(done, "done"),
            None if total is None else _checked_count(total, "total"),
            _short(note),
        )
        if self._journal.is_in_transaction or monotonic() - self._saved_at < self._journal.progress_interval:
            return
        self._saved_at = monotonic()
        if self._is_async:
            task = asyncio.get_running_loop().create_task(self._save_progress())
            self._saving.add(task)
            task.add_done_callback(self._saving.discard)
        else:
            self._journal.save()

    def checkpoint(self) -> None:
        """Save kept values and progress, and stop here if the job should stop. Raises Interrupted, TimeoutError.

        Inside a slice, kept values are saved only when it is committed, because the slice may run again.
        """
        self._journal.warn_in_loop("ctx.checkpoint()", "use `await ctx.acheckpoint()`")
        self._journal.save()
        self._journal.stop.raise_if_asked()

    async def acheckpoint(self) -> None:
        """Do the same as `checkpoint`, in a coroutine."""
        await self._journal.asave()
        self._journal.stop.raise_if_asked()

    def _awaited(self, name: str, topic: str | None) -> Awaited:
        from posthorse.worker.checkpoints.steps import Awaited

        return Awaited(name, topic_of(name, topic or self.job_id, self.tenant), topic is None)

    def _own_steps(self) -> Steps:
        if self._steps is None:
            # Imported here, because jobs without steps need none of it.
            from posthorse.worker.checkpoints.steps import Steps

            self._steps = Steps(self._journal)
        return self._steps

    async def _save_progress(self) -> None:
        try:
            await self._journal.asave()
        except (
            PosthorseError,
            Interrupted,
        ) as error:  # no code waits for this task; the job's next checkpoint raises the error
            self.log.debug("the progress was not saved: %s", error)


def _span(timeout: Duration | None) -> int | None:
    return None if timeout is None else microseconds(as_timedelta(timeout, name="timeout"))


def _seconds(duration: Duration, name: str, *, above: float = -1) -> float:
    seconds = as_timedelta(duration, name=name).total_seconds()
    if seconds <= above:
        raise InvalidOption(f"{name} must be longer than zero; leave it out for none")
    return seconds


def _check_size(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SLICE:
        raise InvalidOption(f"size is {value!r}; it must be a whole number from 1 to {MAX_SLICE:,}")


def _checked_count(value: object, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise InvalidOption(f"set_progress: {name} is {value!r}; it must be a whole number of items, 0 or more")


def _checked_label(name: object) -> str:
    if name is None or name == "":
        return ""
    return checked_name(name, what="the name of a loop")


def _short(note: str | None) -> str | None:
    """Return a note that every store can take and that fits on one line."""
    if note is None:
        return None
    return str(note)[:MAX_NOTE].encode("utf-8", "replace").decode().replace("\0", "\\0")
