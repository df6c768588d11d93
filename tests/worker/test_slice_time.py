"""Slice time: slices keep to a time, and are halved if they were cut short."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import pytest

import posthorse as ph
from posthorse.store.store import Store
from tests.waiting import until_state

MAX_TIME = 0.3
"""Seconds that a transaction may take here."""


class Stopwatch:
    """A clock of the loop alone, which goes on when the body of the loop says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        for module in ("slices", "batch"):
            monkeypatch.setattr(f"posthorse.worker.checkpoints.{module}.monotonic", lambda: self.seconds)


def test_slices_take_the_wanted_time_also_after_a_restart(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch(monkeypatch)
    sizes: list[list[int]] = []
    paused = threading.Event()

    @app.job
    def long(ctx: ph.Context) -> int:
        sizes.append([])
        for batch in ctx.slices(range(1000), slice_time="1s"):
            sizes[-1].append(len(batch))
            watch.seconds += 0.02 * len(batch)
            if 300 in batch and not paused.is_set():
                paused.set()
                job.pause()
        return ctx.progress.done

    job = long.enqueue()
    with app.worker():
        until_state(job, "paused")
        job.resume()
        assert job.result(timeout=30) == 1000
    before, after = sizes
    assert before[:7] == [1, 2, 4, 8, 16, 32, 50]
    assert set(before[7:] + after[:-1]) == {50}


def test_a_slice_that_times_out_is_halved_down_to_the_item_at_fault(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    """Item 5 hangs in any slice. Every timeout halves the current slice; committed slices double it again."""
    sizes: list[list[int]] = []

    @app.job(max_attempts=20, backoff=0, timeout="0.5s")
    async def long(ctx: ph.Context) -> int:
        sizes.append([])
        async for batch in ctx.slices(range(8), size=500):
            sizes[-1].append(len(batch))
            if 5 in batch and len(batch) > 1:
                await asyncio.sleep(60)
        return ctx.progress.done

    with app.worker():
        job = long.enqueue()
        assert job.result(timeout=30) == 8
    assert sizes == [[8], [4, 4], [2], [1, 2], [1, 2]]
    told = "1 attempt ended within the slice after None; trying it with 4 items"
    assert any(told in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("slice_time", [None, "1h"])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_slice_whose_transaction_took_too_long_is_halved_and_a_retry_begins_with_one_item(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, slice_time: str | None, is_async: bool
) -> None:
    begin, abegin = Store.transaction, Store.atransaction

    def short(self: Store, given: object, *, longest: float) -> AbstractContextManager[object]:
        return begin(self, given, longest=min(longest, MAX_TIME))

    def ashort(self: Store, given: object, *, longest: float) -> AbstractAsyncContextManager[object]:
        return abegin(self, given, longest=min(longest, MAX_TIME))

    monkeypatch.setattr(Store, "transaction", short)
    monkeypatch.setattr(Store, "atransaction", ashort)
    sizes: list[list[int]] = []

    @app.job(max_attempts=2, backoff=0)
    def long(ctx: ph.Context, slice_time: str | None) -> int:
        sizes.append([])
        for batch in ctx.slices(range(16), size=16, slice_time=slice_time):
            sizes[-1].append(len(batch))
            with batch.transaction():
                if 9 in batch and len(batch) > 1:
                    threading.Event().wait(2 * MAX_TIME)
        return ctx.progress.done

    @app.job(max_attempts=2, backoff=0)
    async def along(ctx: ph.Context, slice_time: str | None) -> int:
        sizes.append([])
        async for batch in ctx.slices(range(16), size=16, slice_time=slice_time):
            sizes[-1].append(len(batch))
            async with batch.transaction():
                if 9 in batch and len(batch) > 1:
                    await asyncio.sleep(2 * MAX_TIME)
        return ctx.progress.done

    with app.worker():
        job = along.enqueue(slice_time) if is_async else long.enqueue(slice_time)
        status = until_state(job, "failed")
        assert status.error is not None
        assert "a third of the lease" in status.error.message
        before = list(sizes)
        job.retry()
        assert job.result(timeout=30) == 16
    assert before == ([[16], [8, 8], [4]] if slice_time is None else [[1, 2, 4, 8], [4]])
    assert sizes[len(before)][0] == 1


def lost_worker(app: ph.Posthorse) -> ph.StoreUnreachable:
    """Return the error of a job whose own store is away, which counts like a lost worker."""
    error = ph.StoreUnreachable("as if the worker were lost")
    error.where = app.store.where
    return error


@pytest.mark.parametrize(("slice_time", "expected"), [(None, [4, 4, 4, 4]), ("1h", [4, 2, 1, 1])])
def test_a_slice_whose_worker_is_lost_is_halved_where_its_size_is_free(
    sqlite_url: str, slice_time: str | None, expected: list[int]
) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")
    sizes: list[int] = []

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(100), size=4, slice_time=slice_time):
            if 7 in batch:
                sizes.append(len(batch))
                if len(sizes) < 4:
                    raise lost_worker(app)

    with app.worker():
        long.enqueue().result(timeout=30)
    assert sizes == expected
    app.close()


def test_deploys_pauses_and_errors_of_the_code_shrink_no_slice(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")
    sizes: list[int] = []
    begun, go = threading.Event(), threading.Event()

    @app.job(max_attempts=3, backoff=0)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(64), size=16, slice_time="1h"):
            if 40 not in batch:
                continue
            sizes.append(len(batch))
            match len(sizes):
                case 1 | 2:
                    raise TimeoutError("a socket was slow")
                case 3:
                    begun.set()
                    assert go.wait(30)
                    ctx.checkpoint()

    job = long.enqueue()
    with app.worker():
        assert begun.wait(30)
        job.pause()
        go.set()
        until_state(job, "paused")
    with app.worker():
        job.resume()
        job.result(timeout=30)
    assert len(sizes) == 4
    assert set(sizes) == {16}
    app.close()


def test_a_checkpoint_within_a_slice_does_not_hide_that_it_was_cut_short(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")
    sizes: list[int] = []

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(64), size=8, slice_time="1h"):
            if 20 in batch:
                sizes.append(len(batch))
                ctx.checkpoint()
                if len(sizes) < 4:
                    raise lost_worker(app)

    with app.worker():
        long.enqueue().result(timeout=30)
    assert sizes == [8, 8, 4, 2]  # half of the first was committed, and doubled the size again
    app.close()


@pytest.mark.parametrize("slice_time", [0, "0s", -1, "soon"])
def test_a_time_that_is_none_is_refused(sqlite_url: str, slice_time: object) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> None:
        ctx.slices(range(2), slice_time=slice_time)  # type: ignore[call-overload]  # that is the point

    with app.worker(), pytest.raises(ph.JobFailed, match="slice_time"):
        long.enqueue().result(timeout=30)
    app.close()
