"""The journal of one attempt: saves where its job stands, under the attempt's fence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from posthorse.errors import Interrupted, StoreError
from posthorse.rules.cursor import Cursor
from posthorse.store.base import Operation
from posthorse.store.operations.finish import Attempt, Saved, checkpoint, load_checkpoint
from posthorse.store.store import Store
from posthorse.worker.standing import Standing
from posthorse.worker.stop import StopSignal


class Slice:
    """What one slice adds to where the job stands."""

    __slots__ = ("cursor", "is_over", "items", "loop", "seconds")

    def __init__(self, loop: str, cursor: Cursor, items: int, seconds: float, *, is_over: bool) -> None:
        self.loop = loop
        self.cursor = cursor
        self.items = items
        self.seconds = seconds
        self.is_over = is_over


class Journal:
    """Saves checkpoints of one attempt, from its thread or its coroutine."""

    def __init__(self, store: Store, attempt: Attempt, stop: StopSignal, *, longest_transaction: float) -> None:
        self.stop = stop
        self.standing = Standing()
        self.slices_committed = 0
        self._store = store
        self._attempt = attempt
        self._longest_transaction = longest_transaction
        self._is_doubtful = False

    async def load(self) -> None:
        """Finds where the job stood when an earlier attempt stopped."""
        found = await self._store.aread(load_checkpoint(self._attempt.job))
        if found is not None:
            self.standing = Standing.restore(*found)

    def save(self, done: Slice | None = None) -> None:
        """Commits a slice, or without one where the job stands. Raises Interrupted when the lease is lost."""
        with self._one_commit():
            self._take(self._store.run(self._saving(done)), done)

    async def asave(self, done: Slice | None = None) -> None:
        """The same for a coroutine."""
        with self._one_commit():
            self._take(await self._store.arun(self._saving(done)), done)

    @contextmanager
    def transaction(self, finish: Callable[[], Slice]) -> Iterator[object]:
        """A transaction whose last statement before the commit is the checkpoint of the slice from `finish`."""
        with ExitStack() as stack:
            with self._store.transaction(longest=self._longest_transaction) as connection:
                yield connection
                stack.enter_context(self._one_commit())
                done = finish()
                self._take(self._store.run(self._saving(done)), done)

    @asynccontextmanager
    async def atransaction(self, finish: Callable[[], Slice]) -> AsyncIterator[object]:
        """The same for a coroutine."""
        with ExitStack() as stack:
            async with self._store.atransaction(longest=self._longest_transaction) as connection:
                yield connection
                stack.enter_context(self._one_commit())
                done = finish()
                self._take(await self._store.arun(self._saving(done)), done)

    @contextmanager
    def _one_commit(self) -> Iterator[None]:
        # Where the job stands runs ahead of what is stored until the commit has succeeded. A body that swallows
        # the error of a commit must not carry the cursor over the slice that was lost.
        if self._is_doubtful:
            raise StoreError(
                "the last commit of this job failed, so this attempt cannot go on; let the error end the job, and it "
                "is retried from the last committed slice"
            )
        self._is_doubtful = True
        yield
        self._is_doubtful = False

    def _saving(self, done: Slice | None) -> Operation[Saved | None]:
        if done is not None:
            self.standing.advance(done.loop, done.cursor, done.items, done.seconds, is_over=done.is_over)
        return checkpoint(self._attempt, self.standing.encode(), is_slice=done is not None)

    def _take(self, saved: Saved | None, done: Slice | None) -> None:
        if saved is None:
            self.stop.ask("lost")
            raise Interrupted("the lease on this job was lost; somebody else goes on with it")
        if done is not None:
            self.slices_committed += 1
            self.standing.slices = saved.slices
        if saved.request is not None:
            self.stop.ask(saved.request)
