"""A running job: one attempt, with its stop signal, its limits, and how long it may ignore a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from posthorse.clock import monotonic
from posthorse.rules.events import Ended, Ending, Started
from posthorse.rules.job import JobError, Lane, Options, State
from posthorse.rules.outcomes import Outcome, Raised, Stopped
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.rules.registry import Registered
from posthorse.rules.slice_size import TIMED_OUT
from posthorse.rules.throttle import Throttle, ThrottleFunction
from posthorse.store.operations.claim import Claimed
from posthorse.worker.base.job_fields import JobLabel
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.journal import Journal


class RunningJob:
    """One attempt, from its start to its outcome."""

    __slots__ = (
        "_cancelled_at",
        "_lost_at",
        "began",
        "claimed",
        "executor",
        "gates",
        "heard",
        "is_counted",
        "is_told",
        "journal",
        "kind",
        "lane",
        "options",
        "queue",
        "seconds",
        "slices_committed",
        "stop",
        "task",
        "unfit",
        "verdict",
    )

    def __init__(
        self, claimed: Claimed, lane: Lane, kind: Registered, executor: Executor, queue: QueueSettings = DEFAULTS
    ) -> None:
        self.claimed = claimed
        self.lane = lane
        self.kind = kind
        self.executor = executor
        self.queue = queue
        self.began = monotonic()
        self.seconds = 0.0
        """How long it took, once it has ended by itself."""
        self.is_counted = False
        """Whether its start was counted while it runs; else that is done at its end."""
        self.is_told = False
        """Whether the stream was told that it began."""
        self.gates: Sequence[str] | None = None
        """The gates that it passed as a job with limits of its own; None if it has none."""
        self.unfit: str | None = None
        """Why this version of Posthorse cannot run the job; None if it can."""
        try:
            self.options = Options.decode(claimed.options)
        except msgspec.MsgspecError as error:
            self.options = Options()
            self.unfit = f"its stored options cannot be read: {error}"
        self.stop = StopSignal()
        self.journal: Journal | None = None
        self.slices_committed: int | None = 0
        """How many slices it committed, if it has no journal in this process; None when only the store knows."""
        self.heard: Callable[[RunningJob, bool], None] | None = None
        """Passes a request to the job's code. True: also interrupt it where it waits, not only at checkpoints."""
        self.task: asyncio.Task[None] | None = None
        """The task in the slot that it takes."""
        self.verdict: Outcome | None = None
        """The outcome of a job that must be ended by force."""
        self._cancelled_at: float | None = None
        self._lost_at: float | None = None
        """When its code was notified that its lease is gone."""

    @property
    def label(self) -> JobLabel:
        """The attempt's name in the log."""
        tenant = self.options.tenant or self.lane.tenant or None
        return JobLabel.of(self.claimed.job, self.kind.kind, self.claimed.errors + 1, tenant)

    @property
    def label_without_attempt(self) -> JobLabel:
        """The job's name in lines of the log that tell the attempt themselves."""
        tenant = self.options.tenant or self.lane.tenant or None
        return JobLabel.without_attempt(self.claimed.job, self.kind.kind, self.claimed.errors + 1, tenant)

    @property
    def attempt(self) -> int:
        """Which attempt of its job this is, from 1."""
        return self.claimed.errors + 1

    @property
    def timeout(self) -> float | None:
        """Seconds that the job may take."""
        own = self.options.timeout or self.kind.options.timeout
        if self.queue.max_duration is None:
            return own
        return self.queue.ceiling(own, can_keep=self.kind.is_async or self.has_checkpoints)

    @property
    def kill_after(self) -> float | None:
        """Seconds after which the process of an isolated job is killed."""
        return self.queue.ceiling(self.kind.options.kill_after, can_keep=not self.has_checkpoints)

    @property
    def expires(self) -> float | None:
        """Seconds from its due time after which it must not start any more; parts of a job start however late."""
        return None if self.options.is_part else self.options.expires or self.kind.options.expires

    @property
    def is_on_loop(self) -> bool:
        """True if its own code runs, or ran, in a task of the runner's loop."""
        return (self.kind.is_async and not self.kind.is_isolated) or self.stop.is_awaited

    @property
    def asks_first(self) -> bool:
        """True if the store must be read before the job starts: see `preflight`."""
        if self.claimed.options is None:  # as most jobs
            return self.claimed.arguments is None or self.kind.options.expires is not None
        options = self.options
        return (
            self.claimed.arguments is None
            or options.flow is not None
            or options.part is not None
            or self.expires is not None
        )

    @property
    def inputs(self) -> Mapping[str, str | list[str]] | None:
        """The jobs whose results fill arguments that it was stored without, by the names of its parameters."""
        return None if self.options.flow is None else self.options.flow.inputs

    @property
    def has_checkpoints(self) -> bool:
        """True if its code can see requests at checkpoints."""
        return self.kind.signature.wants_context

    @property
    def has_advanced(self) -> bool | None:
        """Whether this attempt committed a slice or a step; None when only the store knows."""
        if self.journal is not None:
            return self.journal.has_advanced
        return None if self.slices_committed is None else self.slices_committed > 0

    def started(self, runner: str) -> Started:
        """Return the event of its start."""
        lane = self.lane
        return Started(
            job=self.claimed.job,
            kind=lane.kind,
            queue=lane.queue,
            tenant=lane.tenant or None,
            attempt=self.claimed.errors + 1,
            runner=runner,
        )

    def ended(self, runner: str, outcome: Ending, state: State, seconds: float, error: JobError | None = None) -> Ended:
        """Return the event of its end."""
        lane = self.lane
        return Ended(
            job=self.claimed.job,
            kind=lane.kind,
            queue=lane.queue,
            tenant=lane.tenant or None,
            attempt=self.claimed.errors + 1,
            runner=runner,
            outcome=outcome,
            state=state,
            seconds=seconds,
            error=error,
        )

    def ask(self, request: str, reason: str | None = None) -> None:
        """Ask the job to stop at its next checkpoint."""
        before = self.stop.request
        self.stop.ask(request, reason)
        if self.stop.request != before:
            self._hear(False)

    def interrupt(self, request: str) -> None:
        """Ask the job to stop; an async job is also cancelled where it waits."""
        self.stop.ask(request)
        self._hear(True)

    def lose(self) -> None:
        """Note that its lease is gone. Interrupt it once only, however often that is noticed: it may be cleaning up."""
        self.stop.ask("lost")
        if self._lost_at is None and self.heard is not None:
            self._lost_at = monotonic()
            self._hear(True)

    def cancel(self) -> None:
        """Cancel the job, because a user requested it."""
        if self._cancelled_at is None:
            self._cancelled_at = monotonic()
        if self.stop.request != "cancel":
            self.interrupt("cancel")

    def withdraw(self, request: str) -> None:
        """Withdraw a pause if the job was resumed before it obeyed, or a window that opened again."""
        if self.stop.request == request:
            self.stop.withdraw()
            self._hear(False)

    def overdue(self, now: float, patience: float) -> Outcome | None:
        """Return the outcome of a job that has ignored its end for more than `patience` seconds; None for any other."""
        if self._lost_at is not None:  # as by a forced stop: its outcome no longer counts
            return Stopped("lost") if now > self._lost_at + patience else None
        if self._cancelled_at is not None and now > self._cancelled_at + patience:
            return Stopped("cancel")
        timeout = self.timeout
        if timeout is not None and now > self.began + timeout + patience:
            message = f"{TIMED_OUT}timeout of {timeout:g} s, and did not stop"
            return Raised(JobError(type="TimeoutError", message=message))
        return None

    def _hear(self, is_urgent: bool) -> None:
        if self.heard is not None:
            self.heard(self, is_urgent)


class Executor(Protocol):
    """Where jobs run: on the loop and in threads of this process, or in processes of their own."""

    def run(self, running: RunningJob) -> Coroutine[Any, Any, Outcome]:
        """Run a job to its outcome."""
        ...

    def throttle(self, running: RunningJob, throttle: Throttle | ThrottleFunction | None) -> None:
        """Let a running job with checkpoints obey the throttle that its queue has now."""
        ...

    def end(self, running: RunningJob) -> bool:
        """End a job that ignores requests; its outcome is `verdict`. Return False if its code cannot be ended."""
        ...

    async def close(self) -> None:
        """Release what is no longer needed."""
        ...
