"""A context without a store, to call the function of a long job directly: slices, progress, kept values, stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from math import inf
from typing import Any, NoReturn, Self, TypeVar

from posthorse.clock import Clock, micros_of
from posthorse.errors import InvalidCall, InvalidOption
from posthorse.ids import new_id
from posthorse.rules.job import DEFAULT_QUEUE, Lane, Options
from posthorse.rules.packing import PLAIN_TEXTS
from posthorse.rules.registry import KindOptions, register
from posthorse.rules.slice_size import UNCUT
from posthorse.rules.topics import Topic, topic_of
from posthorse.rules.values.kept import encode_kept
from posthorse.rules.values.type_mismatch import short
from posthorse.store.base import Operation
from posthorse.store.operations.bad_items import BadItemRow
from posthorse.store.operations.checkpoints import Checkpoint
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.signals import Heard
from posthorse.store.operations.steps import StepRow
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.about_job import AboutJob
from posthorse.worker.checkpoints.checkpoint_state import CheckpointState, Slice
from posthorse.worker.checkpoints.children import Children
from posthorse.worker.checkpoints.context import Context
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.step_journal import StepJournal

T = TypeVar("T")

AFTER_ALL_SLEEPS = 2**62
"""What time it is, in microseconds, when a later attempt comes to a sleep: nothing sleeps in tests."""


class MemoryJournal(Journal):
    """The journal of an attempt that only this process knows: a checkpoint is encoded, and kept in memory."""

    has_throttles = False  # they need a store, and a test should not wait

    def __init__(
        self, job: str, saved: Checkpoint | None, stop_after: int | None, steps: Sequence[StepRow] = ()
    ) -> None:
        self.stop = StopSignal()
        self.state = CheckpointState() if saved is None else CheckpointState.restore(saved, PLAIN_TEXTS)
        self.saved = saved
        self.cut_short = UNCUT
        self.slices_committed = 0
        self.steps_kept = 0
        self.kept_steps = steps
        self.all_steps = list(steps)
        self.events: dict[str, str] = {}
        self.step_pause = self.sleep_in_place = 0.0
        self.is_in_transaction = False
        self.progress_interval = inf
        self.uncommitted_slice = None
        self._stop_after = stop_after
        self.fence = Fence(job, 1, "tests")
        self.turn = asyncio.Lock()
        self._is_doubtful = False
        self._uncommitted = {}

    def save(self, done: Slice | None = None) -> None:
        self.begin_commit(done)
        if done is not None:
            self.state.advance(done)
        self.saved = self.state.encode(None if done is None else done.loop, PLAIN_TEXTS)
        self._is_doubtful = False
        if done is not None:
            self.slices_committed += 1
            self.state.kept.commit(done.loop)
        if self._stop_after is not None and self.slices_committed >= self._stop_after:
            self.stop.ask("pause")

    async def asave(self, done: Slice | None = None) -> None:
        self.save(done)

    def step_journal(self) -> MemoryStepJournal:
        return MemoryStepJournal(self)

    @property
    def is_called_in_transaction(self) -> bool:
        return self.is_in_transaction

    def keep_bad(self, loop: str, bad: Sequence[BadItemRow]) -> None:
        pass

    async def akeep_bad(self, loop: str, bad: Sequence[BadItemRow]) -> None:
        pass

    @contextmanager
    def transaction(self, finish: Callable[[], Slice], connection: object = None) -> Iterator[object]:
        if connection is None:
            _needs_store("batch.transaction()")
        with self._one_transaction():
            yield connection
            self.save(finish())

    @asynccontextmanager
    async def atransaction(self, finish: Callable[[], Slice], connection: object = None) -> AsyncIterator[object]:
        with self.transaction(finish, connection):
            yield connection

    def run(self, operation: Operation[T]) -> T:
        _needs_store("this")

    async def arun(self, operation: Operation[T]) -> T:
        _needs_store("this")

    def read(self, operation: Operation[T]) -> T:
        _needs_store("this")

    async def aread(self, operation: Operation[T]) -> T:
        _needs_store("this")

    def warn_in_loop(self, call: str, instead: str) -> None:
        pass


class MemoryStepJournal(StepJournal):
    """The steps of such an attempt."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._memory = journal

    def keep_steps(self, steps: Sequence[StepRow]) -> None:
        self._memory.save()
        self._memory.all_steps += steps
        self._memory.steps_kept += len(steps)

    async def akeep_steps(self, steps: Sequence[StepRow]) -> None:
        self.keep_steps(steps)

    def begin_wait(self, name: str, form: str, span: int, steps: Sequence[StepRow]) -> tuple[StepRow, int]:
        now = Clock().now()
        step = StepRow(name, form, str(now + span))
        self.keep_steps([*steps, step])
        return step, now

    async def abegin_wait(self, name: str, form: str, span: int, steps: Sequence[StepRow]) -> tuple[StepRow, int]:
        return self.begin_wait(name, form, span, steps)

    def heard(self, topic: Topic, *, is_own: bool) -> Heard:
        return Heard(self._memory.events.get(topic.name), AFTER_ALL_SLEEPS)

    async def aheard(self, topic: Topic, *, is_own: bool) -> Heard:
        return self.heard(topic, is_own=is_own)

    def store_now(self) -> int:
        return AFTER_ALL_SLEEPS

    async def astore_now(self) -> int:
        return AFTER_ALL_SLEEPS


class FakeContext(Context):
    """A `ph.Context` for direct calls: `pt.context()` makes it. Checkpoints are encoded as they would be stored."""

    def __init__(self, about: AboutJob, *, stop_after: int | None = None, before: MemoryJournal | None = None) -> None:
        """`before`: the journal of the attempt before."""
        if stop_after is not None and (type(stop_after) is not int or stop_after < 0):
            raise InvalidOption(f"stop_after is {short(stop_after)}; it must be a number of slices, 0 or more")
        saved, steps = (None, ()) if before is None else (before.saved, before.all_steps)
        self._memory = MemoryJournal(about.job, saved, stop_after, steps)
        super().__init__(self._memory, about)
        if stop_after == 0:
            self.stop()

    @property
    def slices_committed(self) -> int:
        """How many slices were committed with this context."""
        return self._memory.slices_committed

    def stop(self) -> None:
        """Request a stop, as a pause or a deploy does: the next slice or checkpoint raises ph.Interrupted."""
        self._memory.stop.ask("pause")

    def send_event(self, name: str, payload: object = None, *, topic: str | None = None) -> None:
        """Let `ctx.wait_event(name)` of the job return this payload, as `app.send_event` does."""
        to = topic_of(name, topic or self.job_id, self.tenant)
        self._memory.events[to.name] = encode_kept(payload)

    def _own_children(self) -> Children:
        _needs_store("ctx.add() or ctx.join()")

    def resumed(self, *, attempt: int | None = None, stop_after: int | None = None) -> Self:
        """Return the context of the next attempt, which continues from the last checkpoint of this one."""
        about = self._about._replace(attempt=self.attempt if attempt is None else attempt)
        again = type(self)(about, stop_after=stop_after, before=self._memory)
        again._memory.events |= self._memory.events
        return again


def context(
    *,
    job_id: str | None = None,
    kind: str = "tested",
    queue: str = DEFAULT_QUEUE,
    tenant: str | None = None,
    tags: Sequence[str] = (),
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    attempt: int = 1,
    max_attempts: int = 5,
    scheduled_at: datetime | None = None,
    stop_after: int | None = None,
) -> FakeContext:
    """Return a context to call the function of a job with: `total(pt.context(), 100)`.

    The others are what the function reads of its context. stop_after: request a stop after so many slices; the job
    then raises ph.Interrupted, and `resumed()` returns the context with which it continues.
    """
    options = Options(
        scheduled_at=None if scheduled_at is None else micros_of(scheduled_at),
        tenant=tenant,
        key=key,
        metadata=None if metadata is None else dict(metadata),
    )
    registered = register(
        _tested, kind=kind, options=KindOptions(max_attempts=max_attempts, tags=tuple(tags)), context_type=Context
    )
    about = AboutJob(job_id or new_id(), attempt, Lane(queue, kind), options, registered)
    return FakeContext(about, stop_after=stop_after)


def _tested() -> None:
    """Stand for the function, which the test calls itself."""


def _needs_store(what: str) -> NoReturn:
    raise InvalidCall(
        f"{what} needs the connection of a store, and pt.context() has none; give it a connection of your own, or "
        "enqueue the job and drain()"
    )
