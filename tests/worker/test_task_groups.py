"""Task groups: what a job says by exceptions in an asyncio.TaskGroup counts as if it had been raised alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest

import posthorse as ph
from tests.waiting import until, until_state


async def raises(error: BaseException) -> NoReturn:
    await asyncio.sleep(0)
    raise error


@asynccontextmanager
async def group(depth: int = 1) -> AsyncIterator[asyncio.TaskGroup]:
    """Open task groups in task groups."""
    async with asyncio.TaskGroup() as outer:
        if depth == 1:
            yield outer
        else:
            async with group(depth - 1) as inner:
                yield inner


def test_a_pause_and_a_stop_are_heard_out_of_a_group_and_spend_nothing(app: ph.Posthorse) -> None:
    begun: list[str] = []

    async def walk(ctx: ph.Context, name: str) -> None:
        async for batch in ctx.slices(range(10_000), size=1, name=name):
            begun.append(name)
            await asyncio.sleep(0.005 * len(batch))

    @app.job(max_attempts=1)
    async def two_loops(ctx: ph.Context) -> None:
        async with group(2) as tasks:
            tasks.create_task(walk(ctx, "a"))
            tasks.create_task(walk(ctx, "b"))

    job = two_loops.enqueue()
    with app.worker():
        until(lambda: len(set(begun)) == 2)
        job.pause()
        until_state(job, "paused")
        begun.clear()
        job.resume()
        until(lambda: len(set(begun)) == 2)
    assert job.status().state == "pending"
    assert [attempt.outcome for attempt in job.attempts()] == ["paused", "released"]


@pytest.mark.parametrize("depth", [1, 3])
def test_what_steers_is_heard_out_of_a_group(app: ph.Posthorse, depth: int) -> None:
    said: dict[str, Sequence[Exception]] = {
        "give up": [ph.GiveUp("no such user"), ValueError()],
        "snooze": [ph.Snooze("1h", "closed")],
        "error beside a snooze": [ph.Snooze("1h"), ConnectionError("down")],
        "retry": [ph.Retry("busy", after="5m")],
        "not to be tried again": [ConnectionError(), KeyError("x")],
    }

    @app.job(max_attempts=2, backoff="1h", retry_on=ConnectionError)
    async def steered(what: str) -> None:
        gate = asyncio.Barrier(len(said[what]))

        async def say(error: Exception) -> None:
            try:
                await gate.wait()
            finally:
                raise error  # the other one cancels this one

        async with group(depth) as tasks:
            for error in said[what]:
                tasks.create_task(say(error))

    with app.worker():
        jobs = {what: steered.enqueue(what) for what in said}
        statuses = {what: until_state(job, "failed", "scheduled") for what, job in jobs.items()}
    assert {what: (status.state.value, status.reason) for what, status in statuses.items()} == {
        "give up": ("failed", "gave up: no such user"),
        "snooze": ("scheduled", "snoozed: closed"),
        "error beside a snooze": ("scheduled", "attempt 1 of 2 failed"),
        "retry": ("scheduled", "attempt 1 of 2 failed"),
        "not to be tried again": ("failed", "gave up: KeyError is not in retry_on"),
    }
    assert str(statuses["retry"].error) == "posthorse.Retry: busy"  # the one error of a group is named
    assert "ExceptionGroup" in str(statuses["give up"].error)
    assert "no such user" in str(statuses["give up"].error and statuses["give up"].error.traceback)


def test_the_loss_of_the_store_in_a_group_is_no_fault_of_the_job(app: ph.Posthorse) -> None:
    away = ph.StoreUnreachable("away")
    away.where = app.store.where
    runs: list[int] = []

    @app.job(max_attempts=1)
    async def saves() -> str:
        runs.append(1)
        if len(runs) == 1:
            async with group() as tasks:
                tasks.create_task(raises(away))
        return "saved"

    with app.worker():
        job = saves.enqueue()
        assert job.result(timeout=30) == "saved"
    assert [attempt.outcome for attempt in job.attempts()] == ["lost", "completed"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_bad_item_is_no_group_in_which_the_job_gives_up(app: ph.Posthorse, is_async: bool) -> None:
    def fail(item: int) -> None:
        said: list[Exception] = [ValueError("bad"), ph.GiveUp("no more") if item == 2 else KeyError()]
        raise ExceptionGroup("several", said)

    def walk(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), tolerate=4):
            for item in batch:
                with batch.tolerate(item):
                    fail(item)

    async def awalk(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(4), tolerate=4):
            for item in batch:
                async with batch.tolerate(item):
                    fail(item)

    kind = app.job(kind="walk")(awalk if is_async else walk)
    with app.worker():
        status = until_state(kind.enqueue(), "failed", "completed")
    assert (status.state.value, status.reason) == ("failed", "gave up: no more")
