"""Slices: a plain loop that commits its place after every batch, and resumes there whatever happened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

import pytest

import posthorse as ph
from posthorse.errors import StoreError
from posthorse.store.base import Operation
from posthorse.store.store import Store
from tests.waiting import until, until_state


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("count", "size", "batches"),
    [(0, 10, []), (1, 10, [1]), (10, 10, [10]), (30, 10, [10, 10, 10]), (25, 10, [10, 10, 5])],
)
def test_a_loop_meets_every_item_in_batches(
    sqlite_url: str, is_async: bool, count: int, size: int, batches: list[int]
) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job
    def loop(ctx: ph.Context) -> tuple[list[int], list[int], list[int]]:
        seen, sizes, numbers = list[int](), list[int](), list[int]()
        for batch in ctx.slices(range(count), size=size):
            sizes.append(len(batch))
            numbers.append(batch.number)
            seen += batch
            assert batch[0] == seen[-len(batch)]
            assert batch[-1:] == [seen[-1]] or isinstance(batch[-1:], range)
        return seen, sizes, numbers

    @app.job
    async def aloop(ctx: ph.Context) -> tuple[list[int], list[int], list[int]]:
        seen, sizes, numbers = list[int](), list[int](), list[int]()
        async for batch in ctx.slices(range(count), size=size):
            sizes.append(len(batch))
            numbers.append(batch.number)
            seen += batch
        return seen, sizes, numbers

    with app.worker():
        job = aloop.enqueue() if is_async else loop.enqueue()
        seen, sizes, numbers = job.result(timeout=30)
    assert (seen, sizes, numbers) == (list(range(count)), batches, list(range(len(batches))))
    assert job.status().progress.done == count
    app.close()


def test_an_error_in_mid_slice_resumes_at_its_border_with_the_kept_values_of_then(app: ph.Posthorse) -> None:
    seen: list[int] = []

    @app.job(max_attempts=3, backoff=0)
    def sums(ctx: ph.Context) -> tuple[int, list[int]]:
        sums = ctx.keep("sums", list[int]())
        for batch in ctx.slices(range(50), size=10):
            sums.append(sum(batch))
            for item in batch:
                if item == 25 and ctx.attempt < 3:
                    raise ValueError("the item is bad twice")
                seen.append(item)
        return ctx.progress.done, sums

    with app.worker():
        job = sums.enqueue()
        assert job.result(timeout=30) == (50, [sum(range(start, start + 10)) for start in range(0, 50, 10)])
    assert seen == [*range(25), *range(20, 25), *range(20, 50)]
    assert job.status().attempt == 3


def test_kept_values_may_be_replaced_and_keep_their_types(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def keep(ctx: ph.Context) -> list[str]:
        seen = ctx.keep("seen", set[int]())
        first = ctx.keep("first", True)
        assert isinstance(seen, set)
        for batch in ctx.slices(range(4), size=2):
            seen.update(batch)
            ctx.keep.set("first", False)
            if ctx.attempt == 1 and 2 in batch:
                raise ValueError
        return [repr(sorted(seen)), repr(first)]

    with app.worker():
        assert keep.enqueue().result(timeout=30) == ["[0, 1, 2, 3]", "False"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_checkpoint_in_mid_slice_saves_no_kept_value_ahead_of_the_cursor(app: ph.Posthorse, is_async: bool) -> None:
    """Otherwise the slice, run again, would add to a value that it added to before."""

    @app.job(max_attempts=2, backoff=0)
    def count(ctx: ph.Context) -> list[int]:
        seen = ctx.keep("seen", list[int]())
        for batch in ctx.slices(range(6), size=2):
            seen.extend(batch)
            ctx.checkpoint()
            if ctx.attempt == 1 and 2 in batch:
                raise ValueError
        return seen

    @app.job(max_attempts=2, backoff=0)
    async def acount(ctx: ph.Context) -> list[int]:
        seen = ctx.keep("seen", list[int]())
        async for batch in ctx.slices(range(6), size=2):
            seen.extend(batch)
            await ctx.acheckpoint()
            if ctx.attempt == 1 and 2 in batch:
                raise ValueError
        return seen

    with app.worker():
        job = acount.enqueue() if is_async else count.enqueue()
        assert job.result(timeout=30) == list(range(6))


def test_a_checkpoint_outside_of_slices_saves_kept_values(app: ph.Posthorse) -> None:
    @app.job(max_attempts=3, backoff=0)
    def count(ctx: ph.Context) -> int:
        state = ctx.keep("state", {"runs": 0})
        state["runs"] += 1
        ctx.checkpoint()
        if state["runs"] < 3:
            raise ValueError
        return state["runs"]

    with app.worker():
        assert count.enqueue().result(timeout=30) == 3


def test_a_job_that_was_interrupted_before_its_first_slice_shows_its_progress_afterwards(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def loop(ctx: ph.Context) -> int:
        ctx.checkpoint()
        if ctx.attempt == 1:
            raise ValueError("before the first slice")
        for _ in ctx.slices(range(30), size=10):
            pass
        return ctx.progress.done

    with app.worker():
        job = loop.enqueue()
        assert job.result(timeout=30) == 30
    assert job.status().progress.done == 30


def test_named_loops_each_find_their_own_place(app: ph.Posthorse) -> None:
    first: list[int] = []
    second: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def two(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(20), name="first", size=10):
            first.extend(batch)
        for batch in ctx.slices(range(100, 130), name="second", size=10):
            if ctx.attempt == 1 and 110 in batch:
                raise ValueError
            second.extend(batch)
        return ctx.progress.done

    with app.worker():
        job = two.enqueue()
        assert job.result(timeout=30) == 50
    assert (first, second) == (list(range(20)), list(range(100, 130)))
    assert job.status().progress.total == 50


def test_two_loops_without_names_are_refused(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def two(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(2)):
            pass
        for _ in ctx.slices(range(2)):
            pass

    with app.worker(), pytest.raises(ph.JobFailed, match="give each a name"):
        two.enqueue().result(timeout=30)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "10", 10**9])
def test_a_size_that_is_none_is_refused(sqlite_url: str, size: object) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1)
    def loop(ctx: ph.Context) -> None:
        ctx.slices(range(2), size=size)  # type: ignore[call-overload]  # that is the point

    with app.worker(), pytest.raises(ph.JobFailed, match="size is"):
        loop.enqueue().result(timeout=30)
    app.close()


def test_a_text_or_an_iterator_is_refused_as_a_source(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def text(ctx: ph.Context) -> None:
        for _ in ctx.slices("word"):
            pass

    @app.job(max_attempts=1)
    def iterator(ctx: ph.Context) -> None:
        for _ in ctx.slices(iter([1])):  # type: ignore[call-overload]  # that is the point
            pass

    with app.worker():
        with pytest.raises(ph.JobFailed, match="cannot slice a str"):
            text.enqueue().result(timeout=30)
        with pytest.raises(ph.JobFailed, match="only once"):
            iterator.enqueue().result(timeout=30)


def test_progress_has_a_finish_time_from_the_third_slice_on(app: ph.Posthorse) -> None:
    turns = threading.Semaphore(0)

    @app.job
    def long(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(100), size=10):
            assert turns.acquire(timeout=30)

    with app.worker():
        job = long.enqueue()
        for slices in range(1, 5):
            turns.release()
            until(lambda slices=slices: job.status().progress.done == slices * 10)  # type: ignore[misc]  # its default
            progress = job.status().progress
            assert progress.total == 100
            assert (progress.eta is not None) == (slices >= 3)
            if progress.eta_range is not None:
                assert progress.eta is not None
                assert progress.eta_range[0] <= progress.eta <= progress.eta_range[1]
        turns.release(10)
        job.result(timeout=30)
    progress = job.status().progress
    assert (progress.done, progress.fraction) == (100, 1.0)
    assert progress.remaining is not None
    assert progress.remaining.total_seconds() == 0


def test_progress_starts_at_nothing_and_is_never_none(app: ph.Posthorse) -> None:
    @app.job
    def idle() -> None: ...

    progress = idle.enqueue().status().progress
    assert (progress.done, progress.total, progress.eta) == (0, None, None)


def test_a_job_without_slices_tells_its_own_progress(app: ph.Posthorse) -> None:
    @app.job
    def tell(ctx: ph.Context) -> None:
        ctx.set_progress(3, 10, note="half way\0 \ud800")
        ctx.checkpoint()

    with app.worker():
        job = tell.enqueue()
        job.result(timeout=30)
    progress = job.status().progress
    assert (progress.done, progress.total, progress.note) == (3, 10, "half way\\0 ?")


@pytest.mark.parametrize(
    ("done", "total"), [(-1, None), (float("nan"), 1), (1, -1), ("3", 4), (True, 3), (2**70, None)]
)
def test_progress_that_is_no_count_is_refused(sqlite_url: str, done: object, total: object) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1)
    def tell(ctx: ph.Context) -> None:
        ctx.set_progress(done, total)  # type: ignore[arg-type]  # that is the point

    with app.worker(), pytest.raises(ph.JobFailed, match="set_progress"):
        tell.enqueue().result(timeout=30)
    app.close()


@pytest.mark.tuning(progress_interval=0.01)
def test_progress_told_ten_thousand_times_costs_few_writes_and_disturbs_no_slice(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    async def chatty(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(50), size=1):
            for each in range(200):
                ctx.set_progress(each, 200, note=f"item {batch[0]}")
            await asyncio.sleep(0)

    with app.worker():
        chatty.enqueue().result(timeout=30)


def test_a_time_box_lets_others_in_and_comes_back_unspent(app: ph.Posthorse) -> None:
    order: list[str] = []

    @app.job
    def long(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(4), size=1, time_box=0):
            order.extend("long" for _ in batch)
        return ctx.progress.done

    @app.job
    def short() -> None:
        order.append("short")

    with app.worker(concurrency=1):
        job, other = app.enqueue_many([long.bind(), short.bind()])
        other.result(timeout=30)
        assert job.result(timeout=30) == 4
    assert order[0] == "long"
    assert "short" in order[1:4]
    status = job.status()
    assert (status.attempt, status.interruptions) == (1, 0)


def test_kept_values_beyond_their_limit_fail_the_slice_with_a_clear_error(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def greedy(ctx: ph.Context) -> None:
        kept = ctx.keep("all", list[str]())
        for _ in ctx.slices(range(2), size=1):
            kept.append("x" * 5_000_000)

    with app.worker():
        job = greedy.enqueue()
        with pytest.raises(ph.JobFailed, match="keep a summary"):
            job.result(timeout=30)
    assert job.status().progress.done == 0


def test_a_job_that_swallows_a_failed_commit_cannot_complete(app: ph.Posthorse) -> None:
    """Even if the slice was its last one, after which nothing would be saved any more."""
    calls: list[Sequence[int]] = []

    @app.job(max_attempts=2, backoff=0)
    def swallow(ctx: ph.Context) -> str:
        kept = ctx.keep("kept", list[object]())
        slices = iter(ctx.slices(range(2), size=1))
        for batch in slices:
            calls.append(list(batch))
            if ctx.attempt == 1 and batch[0] == 1:
                kept.append(object())  # cannot be saved, so the commit fails
            if batch[0] == 1:
                try:
                    next(slices, None)
                except Exception:
                    kept.clear()
                return "done"
        return "done"

    with app.worker():
        job = swallow.enqueue()
        assert job.result(timeout=30) == "done"
    assert calls == [[0], [1], [1]]
    assert job.status().attempt == 2
    error = job.status().error
    assert error is not None
    assert error.type == f"{StoreError.__module__}.StoreError"


def test_retrying_a_dead_letter_goes_on_from_its_last_slice(app: ph.Posthorse) -> None:
    seen: list[int] = []
    is_mended = threading.Event()

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(40), size=10):
            if 20 in batch and not is_mended.is_set():
                raise ValueError
            seen.extend(batch)

    with app.worker():
        job = long.enqueue()
        assert until_state(job, "failed").progress.done == 20
        is_mended.set()
        job.retry()
        job.result(timeout=30)
    assert seen == list(range(40))


@pytest.mark.parametrize("name", [3, "two\nlines", "n" * 201])
def test_a_loop_has_a_name_that_can_be_shown(app: ph.Posthorse, name: str) -> None:
    @app.job(max_attempts=1)
    def loop(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(3), name=name):
            pass

    with app.worker(), pytest.raises(ph.JobFailed, match="the name of a loop is"):
        loop.enqueue().result(timeout=30)


@pytest.mark.tuning(progress_interval=0.0)
def test_a_progress_that_is_on_its_way_does_not_overtake_the_slice_behind_it(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It contains the earlier place of the job: written last, it would move the cursor back."""
    met: list[int] = []
    written: list[str] = []
    first_is_begun, first_is_written, second_is_written = asyncio.Event(), asyncio.Event(), asyncio.Event()
    arun = cast("Callable[[Store, Operation[object]], Awaitable[object]]", Store.arun)

    async def slow(self: Store, operation: Operation[object]) -> object:
        is_checkpoint = cast("partial[object]", operation.start).func.__name__ == "_checkpoint"
        number = len(written)
        if is_checkpoint:
            written.append("begun")
            first_is_begun.set()
            if number == 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(second_is_written.wait(), 0.3)
        saved = await arun(self, operation)
        if is_checkpoint:
            (first_is_written if number == 0 else second_is_written).set()
        return saved

    monkeypatch.setattr(Store, "arun", slow)

    @app.job(max_attempts=2, backoff=0)
    async def long(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(4), size=2):
            met.extend(batch)
            if met == [0, 1]:
                ctx.set_progress(1, 4)
                await first_is_begun.wait()
            if met == [0, 1, 2, 3]:
                await first_is_written.wait()
                raise ValueError

    with app.worker():
        long.enqueue().result(timeout=30)
    assert met == [0, 1, 2, 3, 2, 3]
