"""Slices: a plain loop over batches, each committed before the next begins.

A slice goes through four steps: 1. stop here if asked, and wait if a throttle says so, 2. read the next items after the
cursor, 3. hand them to the loop's body, 4. commit them (`batch`). A cursor is always the last committed position.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec
from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import Interrupted, InvalidSource, ToleranceExceeded
from posthorse.failpoints import failpoint
from posthorse.rules.cursor import Cursor
from posthorse.rules.loop_state import LoopState
from posthorse.rules.outcomes import Split
from posthorse.rules.ranges import WHOLE, Range
from posthorse.rules.slice_size import SliceSize
from posthorse.rules.values.kept import decode_kept
from posthorse.store.operations.bad_items import RetryRow, bad_items_to_retry
from posthorse.worker.checkpoints.batch import Batch, LoopPlan, Turn
from posthorse.worker.checkpoints.checkpoint_state import Slice
from posthorse.worker.checkpoints.drivers import AsyncDriver, Driver, SyncDriver
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources import AsyncSource, Chunk, QuerySetOf, Source, as_source
from posthorse.worker.checkpoints.sources.base import AsyncFindable, Findable
from posthorse.worker.checkpoints.tolerating import judge, judge_all

if TYPE_CHECKING:
    from posthorse.worker.checkpoints.giving import Giving
    from posthorse.worker.checkpoints.splitting import Sharding
    from posthorse.worker.checkpoints.throttles.turns import ThrottledTurns

T = TypeVar("T", covariant=True)
log = logging.getLogger("posthorse.job")


class Slices(Generic[T]):
    """The loop that `ctx.slices` returns, for `for` and `async for`."""

    def __init__(
        self,
        journal: Journal,
        source: Source[T] | AsyncSource[T] | Sequence[T] | QuerySetOf[T],
        plan: LoopPlan,
        sharding: Sharding | None = None,
    ) -> None:
        self._journal = journal
        self._source = cast("Source[T] | AsyncSource[T]", as_source(source))
        self._shards: int | None = None
        self._giving: Giving[T] | None = None
        self._plan = plan
        if sharding is not None:
            self._take_part(sharding, plan.name)
        self._began = monotonic()

    def __iter__(self) -> Iterator[Batch[T]]:
        if isinstance(self._source, AsyncSource):
            raise InvalidSource("this source is read with await; use `async for` in an async job")
        steps = self._steps(SyncDriver(self._journal, self._source, reads_past=not self._plan.tolerance.is_none))
        answer: object = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Batch):
                    yield step
                    step.commit()
                    answer = None
                else:
                    answer = step
        except StopIteration:
            return
        finally:
            steps.close()

    def __aiter__(self) -> AsyncIterator[Batch[T]]:
        driver = AsyncDriver(self._journal, self._source, reads_past=not self._plan.tolerance.is_none)
        return _AsyncLoop(self._steps(driver))

    def _steps(self, driver: Driver) -> Generator[Batch[T] | object, object, None]:
        """Run the loop for either driver: yield batches and the driver's steps; receive the results of the steps."""
        if self._shards is not None and self._plan.name not in self._journal.state.loops:
            yield from self._cut(driver, self._shards)
        state, missing = self._journal.state.begin_loop(self._plan.name)
        if missing:
            self._journal.warn_of_loops(missing, f"loop {self._plan.name!r} begins from the start")
        if state.is_over and not state.retry_upto:
            return
        own, turns = self._plan.throttle, None
        try:
            if state.total is None:
                state.total = cast("int | None", (yield driver.count()))
            number, began = 0, monotonic()
            while True:
                self._journal.stop.raise_if_asked()
                if own is not None or self._journal.queue_throttle is not None:
                    turns = turns or self._throttled_turns(driver)
                    yield from turns.begin()
                    began = monotonic()
                if self._giving is not None and self._giving.is_due and not (state.is_over or state.retry_upto):
                    yield from self._give_half_away(driver, state, self._giving)
                size = self._size(state)
                turn = Turn(self._plan, number, began, size, state)
                if state.retry_upto:
                    chunk, retried = yield from self._read_again(driver, state, size.items)
                    turn = replace(turn, retried=retried)
                    if not retried:
                        continue
                elif state.is_over:
                    return
                else:
                    chunk = cast("Chunk[T]", (yield driver.read(cast("Cursor", state.cursor), size.items)))
                    if not chunk.items and not chunk.unreadable:
                        if self._is_judged_with_others:
                            yield driver.commit(EndOfPart(self._journal, self._last_of_part(state)))
                        else:
                            judge(self._plan.name, self._plan.tolerance, state.bad, state.done, is_over=True)
                        return
                batch = Batch(self._journal, chunk, turn, self._source)
                failpoint("in_slice")
                self._journal.begin_slice(self._plan.name, began, is_first=number == 0)
                if chunk.items:
                    yield batch
                else:  # only records that cannot be read
                    yield driver.commit(batch)
                if turns is not None:
                    yield from turns.took(len(chunk.items))
                if chunk.is_last:
                    return
                self._yield_if_time_is_up()
                # A slice lasts from the end of the one before, because reading and committing take time, too.
                number, began = number + 1, batch.ended
        finally:
            self._journal.leave_loop(self._plan.name)
            self._source.close()

    def _take_part(self, sharding: Sharding, loop: str) -> None:
        from posthorse.worker.checkpoints.giving import Giving
        from posthorse.worker.checkpoints.splitting import source_of_part

        if sharding.part is None:
            self._shards = sharding.shards
            return
        range = self._journal.unpacked_range(sharding.part.range)
        own = self._journal.state.loops.get(loop)
        if own is not None and own.upto is not None:
            range = Range(range.after, cast("Cursor", own.upto), own.total)
        whole = self._source
        self._source = source_of_part(whole, sharding.part, loop, range)
        self._giving = Giving(self._journal, whole, sharding, sharding.part, range)
        self._plan = replace(self._plan, is_of_part=True)

    def _give_half_away(self, driver: Driver, state: LoopState, giving: Giving[T]) -> Generator[object, object, None]:
        kept = yield from giving.give(driver, state)
        if kept is not None:
            self._source.close()
            self._source = kept
            driver.turn_to(kept)

    @property
    def _is_judged_with_others(self) -> bool:
        """Whether the end of the loop is known before its bad items can be judged: those of all parts together."""
        return self._plan.is_of_part and self._plan.tolerance.share is not None

    def _last_of_part(self, state: LoopState) -> Slice:
        """Return a slice without items, which says that the loop of this part is over."""
        plan = self._plan
        return Slice(
            loop=plan.name,
            cursor=cast("Cursor", state.cursor),
            items=0,
            seconds=0.0,
            is_over=True,
            size=state.size,
            judge=partial(judge_all, plan.name, plan.tolerance, state.bad, state.done, True),
        )

    def _cut(self, driver: Driver, parts: int) -> Generator[object, object, None]:
        """Cut the source, and end the attempt: the parts run over it. Raises Interrupted."""
        from posthorse.worker.checkpoints.splitting import checked_ranges, splittable

        splittable(self._source)
        try:
            ranges = checked_ranges((yield driver.split(self._source, parts, None, None)), WHOLE, parts)
        finally:
            self._source.close()
        self._journal.stop.raise_if_asked()
        self._journal.split = Split(self._plan.name, tuple(ranges))
        raise Interrupted("this job was cut into parts, which run over its source")

    def _read_again(
        self, driver: Driver, state: LoopState, limit: int
    ) -> Generator[object, object, tuple[Chunk[T], Sequence[int]]]:
        """Return the bad items to retry, with their numbers. Items that the source no longer finds are dropped."""
        wanted = bad_items_to_retry(
            self._journal.job, self._plan.name, after=state.retried, upto=state.retry_upto, limit=limit
        )
        rows = self._journal.unpacked(cast("Sequence[RetryRow]", (yield driver.ask(wanted))))
        keys = {row.item: cast("Cursor", msgspec.json.decode(row.item)) for row in rows if row.form == "key"}
        found: dict[str, object] = {}
        if keys and isinstance(self._source, Findable | AsyncFindable):
            for item in cast("Sequence[T]", (yield driver.find(list(keys.values())))):
                found[msgspec.json.encode(self._source.key_of(item)).decode()] = item
        found |= {row.item: decode_kept(row.item) for row in rows if row.form == "value"}
        gone = [row.number for row in rows if row.item not in found]
        if gone:
            dropped = Slice(
                loop=self._plan.name,
                cursor=cast("Cursor", state.cursor),
                items=0,
                seconds=0.0,
                is_over=state.is_over,
                size=state.size,
                mended=gone,
                retried=rows[-1].number if len(gone) == len(rows) else state.retried,
            )
            yield driver.save(dropped)
        elif not rows:
            state.retried = state.retry_upto = 0
        here = [row for row in rows if row.item in found]
        items = cast("Sequence[T]", [found[row.item] for row in here])
        return Chunk(items, None, is_last=False), [row.number for row in here]

    def _throttled_turns(self, driver: Driver) -> ThrottledTurns:
        # Imported here, because most loops have no throttle.
        from posthorse.worker.checkpoints.throttles.drivers import AsyncWaiting, SyncWaiting
        from posthorse.worker.checkpoints.throttles.turns import ThrottledTurns

        waiting = AsyncWaiting(self._journal) if isinstance(driver, AsyncDriver) else SyncWaiting(self._journal)
        return ThrottledTurns(self._journal, self._plan.throttle, self._plan.name, waiting)

    def _size(self, state: LoopState) -> SliceSize:
        cut_short = self._journal.cut_short
        if not cut_short:
            return self._plan.sizes.begin(state.size)
        left = None if state.total is None else max(1, state.total - state.done)
        size = self._plan.sizes.begin(state.size, cut_short, left)
        log.warning(
            "job %s: %s ended within the slice after %r%s; trying it with %s",
            self._journal.job,
            _counted(cut_short.timeouts + cut_short.interruptions, "attempt"),
            state.cursor,
            f" of loop {self._plan.name!r}" if self._plan.name else "",
            _counted(size.items, "item"),
        )
        return size

    def _yield_if_time_is_up(self) -> None:
        if self._plan.time_box is not None and monotonic() - self._began >= self._plan.time_box:
            self._journal.stop.ask("yield")


class EndOfPart:
    """The end of the loop of a part, whose bad items are judged in its commit, together with those of other parts."""

    def __init__(self, journal: Journal, done: Slice) -> None:
        self._journal = journal
        self._done = done

    def commit(self) -> None:
        """Commit it. Raises ToleranceExceeded; then the loop goes back to where it was."""
        try:
            self._journal.save(self._done)
        except ToleranceExceeded:
            self._journal.take_back()
            raise

    async def acommit(self) -> None:
        """Do the same as `commit`, in a coroutine."""
        try:
            await self._journal.asave(self._done)
        except ToleranceExceeded:
            self._journal.take_back()
            raise


class _AsyncLoop(AsyncIterator[Batch[T]]):
    """The steps of a loop, awaited. This is not an async generator, because one that is left is closed only when the
    event loop gets to it, and by then the next loop may have committed."""

    def __init__(self, steps: Generator[Batch[T] | object, object, None]) -> None:
        self._steps = steps
        self._batch: Batch[T] | None = None

    async def __anext__(self) -> Batch[T]:
        answer: object = None
        try:
            if self._batch is not None:
                await self._batch.acommit()
                self._batch = None
            while True:
                try:
                    step = self._steps.send(answer)
                except StopIteration:
                    raise StopAsyncIteration from None
                if isinstance(step, Batch):
                    self._batch = cast("Batch[T]", step)
                    return self._batch
                answer = await cast("Awaitable[object]", step)
        except BaseException:
            self._steps.close()
            raise

    async def aclose(self) -> None:
        """Leave the loop."""
        self._steps.close()


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
