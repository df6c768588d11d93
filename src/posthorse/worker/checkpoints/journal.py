"""The journal of one attempt: saves the state of its job, under the attempt's fence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from posthorse.errors import Interrupted, PosthorseError, StoreError
from posthorse.failpoints import failpoint
from posthorse.rules.events import SliceCommitted
from posthorse.rules.job import Lane
from posthorse.rules.loop_state import LoopState
from posthorse.rules.outcomes import Split
from posthorse.rules.pace import Pace
from posthorse.rules.packing import PLAIN_TEXTS, JobTexts
from posthorse.rules.ranges import Range
from posthorse.rules.slice_size import UNCUT
from posthorse.store.base import Operation
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.bad_items import BadItemRow, RetryRow
from posthorse.store.operations.checkpoints import BadItemChanges, Saved, checkpoint, load_checkpoint
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.part_checkpoints import judged_checkpoint
from posthorse.store.operations.steps import StepRow
from posthorse.store.store import Store
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.checkpoint_state import CheckpointState, Slice, packed_bad_items

if TYPE_CHECKING:
    from posthorse.rules.throttle import Throttle, ThrottleFunction
    from posthorse.rules.tuning import Tuning
    from posthorse.rules.watched import Watched
    from posthorse.worker.checkpoints.step_journal import StepJournal
    from posthorse.worker.checkpoints.throttles.measuring import Measuring

T = TypeVar("T")
log = logging.getLogger("posthorse.job")
LOST = "the lease on this job was lost; another runner continues it"


class Journal:
    """The journal of one attempt, used from its thread or its coroutine."""

    queue_throttle: Throttle | ThrottleFunction | None = None
    """The throttle of the job's queue as it is now. Most jobs have none, so theirs is that of the class."""

    has_throttles = True
    """Whether loops obey throttles."""

    _before: tuple[str, LoopState, Pace] | None = None
    """The loop of a slice that may be refused, as it was before it, and the pace."""

    children = 0
    """How many children the job added, in this attempt or before."""

    joined: tuple[int, ...] = ()
    """How many children the job had at each join that the code of this attempt went past."""

    def __init__(
        self,
        store: Store,
        attempt: Fence,
        stop: StopSignal,
        *,
        lane: Lane,
        longest_transaction: float,
        failed: int = 0,
        texts: JobTexts = PLAIN_TEXTS,
    ) -> None:
        """`failed`: how many earlier attempts of the job failed."""
        self.stop = stop
        self.state = CheckpointState()
        self.state.failed = failed
        self.cut_short = UNCUT
        """How often attempts ended within the slice that is next."""
        self.slices_committed = 0
        self.steps_kept = 0
        self.kept_steps: Sequence[StepRow] = ()
        """The steps of earlier attempts, unpacked."""
        self.uncommitted_slice: tuple[str, float] | None = None
        """The loop of the slice that began last and when it did, on the monotonic clock, until it is committed."""
        self.split: Split | None = None
        """How the loop of the job was cut into parts, once it was; that ends the attempt."""
        self.is_in_transaction = False
        """True inside `batch.transaction()`."""
        self._store = store
        self._emitter = store.emitter
        self.progress_interval = store.tuning.progress_interval
        """Seconds between two saves of progress that the job only reports."""
        self.sleep_in_place = store.tuning.sleep_in_place
        """A sleep of fewer seconds keeps the worker."""
        self.step_pause = store.tuning.step_pause
        """By this the waits between the tries of a step are multiplied."""
        self.fence = attempt
        self._lane = lane
        self.texts = texts
        self._longest_transaction = longest_transaction
        self._is_doubtful = False
        self.turn = asyncio.Lock()
        self._uncommitted: dict[str, set[int]] = {}
        """Numbers of bad items, by loop, that were stored for slices that have not been committed."""

    async def load(self) -> None:
        """Load the checkpoint of earlier attempts. Raises CodecError."""
        stood = await self._store.aread(load_checkpoint(self.fence.job))
        self.cut_short = stood.cut_short
        for loop, number in stood.uncommitted:
            self._uncommitted.setdefault(loop, set()).add(number)
        self.kept_steps = [step._replace(value=self.texts.unpack(step.value, "step")) for step in stood.steps]
        self.children = stood.children
        if stood.checkpoint is not None:
            failed = self.state.failed
            self.state = CheckpointState.restore(stood.checkpoint, self.texts)
            self.state.failed = failed

    def begin_slice(self, loop: str, began: float, *, is_first: bool) -> None:
        """Begin a slice: until its commit, kept values may be ahead of the cursor, and are not saved without it."""
        self.uncommitted_slice = loop, began
        self.state.kept.begin(loop, is_first=is_first)

    def leave_loop(self, loop: str) -> None:
        """Note that a loop has ended, or was left inside a slice."""
        self.state.kept.leave(loop)

    def save(self, done: Slice | None = None) -> None:
        """Commit a slice, or the state without one. Raises Interrupted if the lease is lost."""
        self.begin_commit(done)
        failpoint("before_slice_commit")
        self.take_reply(self._store.run(self._saving(done)), done)
        failpoint("after_slice_commit")
        self._is_doubtful = False
        if self._emitter.slice_committed:
            self._tell(done)

    async def asave(self, done: Slice | None = None) -> None:
        """Do the same as `save`, in a coroutine."""
        if self.is_in_transaction:
            await self._asave(done)
        else:
            async with self.turn:  # progress may be on its way to the store
                await self._asave(done)

    def keep_bad(self, loop: str, bad: Sequence[BadItemRow]) -> None:
        """Store the bad items of a slice that fails because of them, until a later attempt meets them again."""
        with suppress(PosthorseError, Interrupted):  # the error that led here says more
            self.begin_commit(None)
            self.take_reply(self._store.run(self._keeping(loop, bad)), None)

    async def akeep_bad(self, loop: str, bad: Sequence[BadItemRow]) -> None:
        """Do the same as `keep_bad`, in a coroutine."""
        async with self.turn:
            with suppress(PosthorseError, Interrupted):
                self.begin_commit(None)
                self.take_reply(await self._store.arun(self._keeping(loop, bad)), None)

    @contextmanager
    def transaction(self, finish: Callable[[], Slice], connection: object = None) -> Iterator[object]:
        """Open a transaction that ends with the checkpoint of the slice that `finish` returns, and then commits.

        It is on the given connection, or on one of the store's.
        """
        with self._one_transaction():
            with self._store.transaction(connection, longest=self._longest_transaction) as open_connection:
                yield open_connection
                done = finish()
                self.begin_commit(done)
                self.take_reply(self._store.run(self._saving(done)), done)
                failpoint("before_slice_commit")
            failpoint("after_slice_commit")
            self._is_doubtful = False
            if self._emitter.slice_committed:
                self._tell(done)

    @asynccontextmanager
    async def atransaction(self, finish: Callable[[], Slice], connection: object = None) -> AsyncIterator[object]:
        """Do the same as `transaction`, in a coroutine."""
        async with self.turn:
            with self._one_transaction():
                async with self._store.atransaction(connection, longest=self._longest_transaction) as open_connection:
                    yield open_connection
                    done = finish()
                    self.begin_commit(done)
                    self.take_reply(await self._store.arun(self._saving(done)), done)
                    failpoint("before_slice_commit")
                failpoint("after_slice_commit")
                self._is_doubtful = False
                if self._emitter.slice_committed:
                    self._tell(done)

    def begin_commit(self, done: Slice | None) -> None:
        """Prepare a commit. Raises Interrupted if the lease is lost, StoreError if the commit of a slice failed."""
        # Until the commit succeeds, the state in memory is ahead of the store. A body that swallows the error of a
        # commit must not carry the cursor past the slice that was lost.
        self.raise_if_doubtful()
        if self.stop.request == "lost":
            raise Interrupted(LOST)
        self._is_doubtful = done is not None

    def be_doubtful(self, is_so: bool) -> None:
        """Note that it is not known, or known again, whether the state in memory is that of the store."""
        self._is_doubtful = is_so

    def take_back(self) -> bool:
        """Undo in memory the slice that was refused, and not committed; return False if none was."""
        if self._before is None:
            return False
        loop, before, self.state.pace = self._before
        self._before = None
        self.state.loops[loop].become(before)
        self._is_doubtful = False
        return True

    def take_reply(self, saved: Saved | None, done: Slice | None) -> None:
        """Note a commit and what is requested of the job; None: the lease is lost, which raises Interrupted."""
        if saved is None:
            self.stop.ask("lost")
            raise Interrupted(LOST)
        if done is not None:
            self.slices_committed += 1
            self.uncommitted_slice = self._before = None
            self.cut_short = UNCUT
            self.state.kept.commit(done.loop)
        if saved.request is not None:
            self.stop.ask(saved.request)

    def step_journal(self) -> StepJournal:
        """Return what saves the steps of the job."""
        from posthorse.worker.checkpoints.step_journal import StepJournal  # here: most jobs have no steps

        return StepJournal(self)

    def listen(self, listener: Callable[[SliceCommitted], object]) -> None:
        """Let a listener hear of committed slices, as `app.listen` does."""
        self._emitter.subscribe(listener, SliceCommitted)

    @property
    def has_advanced(self) -> bool:
        """Whether this attempt committed a slice or a step."""
        return self.slices_committed + self.steps_kept > 0

    @property
    def is_called_in_transaction(self) -> bool:
        """Whether the caller is inside a transaction; another task of the same job may be outside of it."""
        return self._store.is_in_transaction

    @property
    def waits_for_children(self) -> bool:
        """Whether the job, once its code has returned, is over only after its children."""
        return self.children > (self.joined[-1] if self.joined else 0)

    @property
    def job(self) -> str:
        """The id of the job."""
        return self.fence.job

    @property
    def lane(self) -> Lane:
        """The lane of the job."""
        return self._lane

    @property
    def tuning(self) -> Tuning:
        """The figures of the engine."""
        return self._store.tuning

    @property
    def measuring(self) -> Measuring:
        """What measures for throttles in this process."""
        from posthorse.worker.checkpoints.throttles.measuring import measuring_for  # here: most jobs have no throttle

        return measuring_for(self._store)

    def unpacked(self, rows: Sequence[RetryRow]) -> Sequence[RetryRow]:
        """Return bad items to retry, unpacked. Raises CodecError."""
        return [row._replace(item=self.texts.unpack(row.item, "bad item")) for row in rows]

    def unpacked_range(self, range: Range) -> Range:
        """Return the range of a part, unpacked. Raises CodecError."""
        unpack = self.texts.unpack_cursor
        return replace(range, after=unpack(range.after), upto=unpack(range.upto))

    def run(self, operation: Operation[T]) -> T:
        """Run an operation of the store, as a part of the transaction if one is open."""
        return self._store.run(operation)

    async def arun(self, operation: Operation[T]) -> T:
        """Do the same as `run`, in a coroutine."""
        return await self._store.arun(operation)

    @property
    def watched(self) -> Watched:
        """Who watches the stream."""
        return self._store.watched

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        return self._store.read(operation)

    async def aread(self, operation: Operation[T]) -> T:
        """Do the same as `read`, in a coroutine."""
        return await self._store.aread(operation)

    def texts_of(self, job: str, options: str | None) -> JobTexts:
        """Return the texts of another job, given its stored options."""
        return self.texts.of(job, options)

    def warn_in_loop(self, call: str, instead: str) -> None:
        """Warn a caller that blocks a running event loop."""
        warn_in_loop(self._store, call, instead)

    def raise_if_doubtful(self) -> None:
        """Raise StoreError if the commit of a slice failed: the job must not go on as if it had succeeded."""
        if self._is_doubtful:
            raise StoreError(
                "the last commit of this job failed, so this attempt cannot go on; let the error end the job, and it "
                "is retried from the last committed slice"
            )

    def conclude(self) -> None:
        """Note that the job's code returned. Raises StoreError if the commit of a slice failed."""
        self.raise_if_doubtful()
        if missing := self.state.unfinished():
            self.warn_of_loops(missing, "the job ends without them")

    def warn_of_loops(self, names: Sequence[str], instead: str) -> None:
        """Log a warning about loops that the code no longer has."""
        for name in names:
            loop = self.state.loops[name]
            log.warning(
                "job %s: loop %r is unfinished (%s done) and the code went past it: %s; was it renamed? Give it its "
                "name back, or let such jobs end before the code changes",
                self.job,
                name,
                f"{loop.done:,}" if loop.total is None else f"{loop.done:,} of {loop.total:,}",
                instead,
            )

    async def _asave(self, done: Slice | None) -> None:
        self.begin_commit(done)
        failpoint("before_slice_commit")
        self.take_reply(await self._store.arun(self._saving(done)), done)
        failpoint("after_slice_commit")
        self._is_doubtful = False
        if self._emitter.slice_committed:
            self._tell(done)

    @contextmanager
    def _one_transaction(self) -> Iterator[None]:
        self.is_in_transaction = True
        try:
            yield
        finally:
            self.is_in_transaction = False

    def _saving(self, done: Slice | None) -> Operation[Saved | None]:
        if done is None:
            return checkpoint(self.fence, self.state.encode(None, self.texts), is_slice=False)
        if done.judge is not None:
            self._before = (done.loop, copy(self.state.loops[done.loop]), self.state.pace)
        self.state.advance(done)
        if done.retried is None and (left := self._uncommitted.pop(done.loop, None)):
            done = replace(done, mended=sorted(left - {bad.number for bad in done.bad}))
        changes = done.changes
        if changes is not None and changes.bad:
            changes = changes._replace(bad=packed_bad_items(changes.bad, self.texts))
        if done.judge is not None:
            at = self.state.encode(done.loop, self.texts)
            return judged_checkpoint(self.fence, at, changes, done.loop, done.judge)
        return checkpoint(self.fence, self.state.encode(done.loop, self.texts), changes=changes)

    def _keeping(self, loop: str, bad: Sequence[BadItemRow]) -> Operation[Saved | None]:
        self._uncommitted.setdefault(loop, set()).update(item.number for item in bad)
        at, bad = self.state.encode(None, self.texts), packed_bad_items(bad, self.texts)
        return checkpoint(self.fence, at, is_slice=False, changes=BadItemChanges(loop, bad, ()))

    def _tell(self, done: Slice | None) -> None:
        if done is None:
            return
        lane, state = self._lane, self.state
        event = SliceCommitted(
            job=self.fence.job,
            kind=lane.kind,
            queue=lane.queue,
            tenant=lane.tenant or None,
            attempt=state.failed + 1,
            loop=done.loop,
            items=done.items,
            done=state.done,
            total=state.total,
            slices=self.slices_committed,
            seconds=done.seconds,
        )
        self._emitter.emit(event)
