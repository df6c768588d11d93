"""The function of a long job can be called directly, with a context that needs no store."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing.shop import total


def test_a_job_runs_through_its_slices() -> None:
    ctx = pt.context()
    assert total(ctx, 95) == sum(range(95))
    assert ctx.slices_committed == 10
    assert (ctx.progress.done, ctx.progress.total) == (95, 95)
    assert ctx.keep("sums", None) == [sum(range(95))]


def test_a_job_that_is_stopped_continues_with_the_next_context() -> None:
    ctx = pt.context(stop_after=3)
    with pytest.raises(ph.Interrupted):
        total(ctx, 95)
    assert (ctx.slices_committed, ctx.progress.done) == (3, 30)
    again = ctx.resumed()
    assert again.keep("sums", None) == [sum(range(30))]
    assert total(again, 95) == sum(range(95))
    assert again.slices_committed == 7


def test_a_stop_is_seen_before_the_first_slice_too() -> None:
    ctx = pt.context()
    ctx.stop()
    assert ctx.stop_requested
    with pytest.raises(ph.Interrupted):
        total(ctx, 95)
    assert pt.context(stop_after=0).stop_requested


def test_an_error_leaves_the_last_committed_slice() -> None:
    def failing(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(20), size=5):
            for number in batch:
                if number == 12:
                    raise ValueError(number)

    ctx = pt.context()
    with pytest.raises(ValueError, match="12"):
        failing(ctx)
    seen: list[int] = []
    for batch in ctx.resumed(attempt=2).slices(range(20), size=5):
        seen += batch
    assert seen == list(range(10, 20))


def test_steps_are_kept_from_one_context_to_the_next() -> None:
    calls: list[int] = []

    def job(ctx: pt.FakeContext | ph.Context) -> tuple[int, int]:
        first = ctx.step("first", len, "abc")
        ctx.step("second", calls.append, first, attempts=2, backoff="1h")
        return first, len(calls)

    ctx = pt.context()
    assert job(ctx) == (3, 1)
    again = ctx.resumed()
    assert job(again) == (3, 1)
    assert asyncio.run(again.astep("third", len, "abcd")) == 4
    with pytest.raises(ph.InvalidOption, match="'first'"):
        again.step("first", len, "")
    assert job(again.resumed()) == (3, 1)


def test_a_step_is_tried_again_without_waiting() -> None:
    calls: list[int] = []

    def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return len(calls)

    assert pt.context().step("flaky", flaky, attempts=3, backoff="1h") == 3


def test_async_jobs_progress_and_checkpoints() -> None:
    mine = sqlite3.connect(":memory:")

    async def job(ctx: ph.Context) -> int:
        ctx.set_progress(1, 3, note="one")
        await ctx.acheckpoint()
        async for batch in ctx.slices(range(4), size=2):
            async with batch.transaction(mine) as connection:
                assert connection is mine
        ctx.log.info("done")
        ctx.checkpoint()
        return ctx.attempt

    at = datetime(2026, 1, 1, tzinfo=UTC)
    ctx = pt.context(attempt=2, scheduled_at=at, job_id="01936f5e-7c1a-7d2b-8e3f-0123456789ab")
    assert asyncio.run(job(ctx)) == 2
    mine.close()
    assert ctx.slices_committed == 2
    assert ctx.progress.note == "one"
    assert (ctx.scheduled_at, ctx.job_id) == (at, "01936f5e-7c1a-7d2b-8e3f-0123456789ab")


def test_the_context_tells_what_the_test_says_of_the_job() -> None:
    ctx = pt.context(
        kind="bill", queue="mail", tenant="acme", tags=["a"], key="k", metadata={"user": 7}, attempt=2, max_attempts=9
    )
    for told in (ctx, ctx.resumed()):
        assert (told.kind, told.queue, told.tenant, told.tags, told.key) == ("bill", "mail", "acme", ("a",), "k")
        assert (told.metadata, told.attempt, told.max_attempts) == ({"user": 7}, 2, 9)


def test_what_needs_a_store_says_so() -> None:
    ctx = pt.context()
    with pytest.raises(ph.InvalidCall, match="drain"):  # noqa: PT012  # the block is what is refused
        for batch in ctx.slices(range(4)):
            with batch.transaction():
                pass
    with pytest.raises(ph.InvalidOption, match="stop_after"):
        pt.context(stop_after=-1)
