"""A stuck slice: a forced pause takes the job away from it, and what it still does no longer counts."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

import posthorse as ph
from tests.waiting import until_state


@pytest.mark.parametrize("is_async", [True, False])
def test_a_stuck_slice_is_paused_by_force_and_resumed_from_the_last_committed_one(
    app: ph.Posthorse, is_async: bool
) -> None:
    stuck, go, refused = threading.Event(), threading.Event(), threading.Event()
    met: list[int] = []

    @app.job
    def long(ctx: ph.Context) -> list[int]:
        kept = ctx.keep("kept", list[int]())
        try:
            for batch in ctx.slices(range(6), size=2):
                kept.extend(batch)
                if batch[0] == 2 and not stuck.is_set():
                    stuck.set()
                    assert go.wait(30)
                met.extend(batch)
        except ph.Interrupted:
            refused.set()
            raise
        return kept

    @app.job
    async def along(ctx: ph.Context) -> list[int]:
        kept = ctx.keep("kept", list[int]())
        try:
            async for batch in ctx.slices(range(6), size=2):
                kept.extend(batch)
                if batch[0] == 2 and not stuck.is_set():
                    stuck.set()
                    while not go.is_set():
                        with suppress(asyncio.CancelledError):  # it ignores that
                            await asyncio.sleep(0.01)
                met.extend(batch)
        except ph.Interrupted:
            refused.set()
            raise
        return kept

    with app.worker():
        job = along.enqueue() if is_async else long.enqueue()
        assert stuck.wait(30)
        assert job.pause(force=True) == "paused"
        assert job.status().progress.done == 2
        go.set()
        assert refused.wait(30)
        assert job.status().state == "paused"
        assert job.status().progress.done == 2
        job.resume()
        assert job.result(timeout=30) == [0, 1, 2, 3, 4, 5]
    assert sorted(met) == [0, 1, 2, 2, 3, 3, 4, 5]  # the stuck slice ran twice, and was committed once
    assert job.status().progress.done == 6


def test_interruptions_without_progress_end_in_a_message_that_says_so(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s", max_interruptions=3)
    interruptions: list[int] = []
    away = ph.StoreUnreachable("the network is down")
    away.where = app.store.where  # its own

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2):
            if batch[0] == 2:
                interruptions.append(ctx.progress.done)
                raise away

    with app.worker():
        job = long.enqueue()
        expected = "interrupted 3 times without progress; the last time: the network is down"
        with pytest.raises(ph.JobFailed, match=expected):
            job.result(timeout=30)
    status = job.status()
    assert (status.reason, status.progress.done, status.interruptions) == ("no progress", 2, 3)
    assert interruptions == [2, 2, 2]
    app.close()


def test_time_boxes_let_others_run_in_between(app: ph.Posthorse) -> None:
    """One worker, two long jobs: each comes back after the other had its turn."""
    turns: list[str] = []

    @app.job
    def long(ctx: ph.Context, name: str) -> int:
        for batch in ctx.slices(range(6), size=1, time_box=0):
            turns.append(name)
            assert len(batch) == 1
        return ctx.progress.done

    jobs = [long.enqueue("a"), long.enqueue("b")]
    with app.worker(concurrency=1):
        assert [job.result(timeout=30) for job in jobs] == [6, 6]
    assert sorted(turns) == ["a"] * 6 + ["b"] * 6
    assert turns == ["a", "b"] * 6
    assert {job.status().attempt for job in jobs} == {1}
    until_state(jobs[0], "completed")
