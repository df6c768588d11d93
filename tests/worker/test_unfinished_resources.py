"""Resources that are being made while the worker ends, or while what wants them is cancelled: none stays open."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import posthorse as ph
from posthorse.rules.middleware import ResourceRun
from posthorse.rules.resources import Resource
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.provided import TaskOfItsOwn


def resource(provider: Callable[..., object], *needs: Resource) -> Resource:
    """Return what a job that names this provider for the process needs."""
    return Resource(
        provider,
        "process",
        None,
        tuple((f"it{number}", need) for number, need in enumerate(needs)),
        inspect.isgeneratorfunction(provider),
        inspect.isasyncgenfunction(provider),
    )


# ── of the process ───────────────────────────────────────────────────────────────────────────────────


def test_a_provider_that_awaits_while_the_worker_ends_is_cancelled_and_cleans_up_before_what_it_uses() -> None:
    steps: list[str] = []

    async def engine() -> AsyncIterator[str]:
        yield "engine"
        steps.append("engine")

    async def run() -> None:
        async def pool(it0: str) -> AsyncIterator[str]:
            try:
                begun.set()
                await asyncio.Event().wait()
                yield it0
            finally:
                await asyncio.sleep(0)
                steps.append("pool")

        begun = asyncio.Event()
        resources = ProcessResources()
        wanted = asyncio.create_task(resources.aget(resource(pool, resource(engine))))
        await begun.wait()
        await resources.close(each=30, within=30)
        assert steps == ["pool", "engine"]
        with pytest.raises(ph.InvalidCall, match=r"the worker is ending, so pool\(\)"):
            await wanted

    asyncio.run(run())


def test_a_provider_that_goes_on_though_the_worker_ends_is_left_as_soon_as_it_yields() -> None:
    steps: list[str] = []

    async def run() -> None:
        async def stubborn() -> AsyncIterator[int]:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                steps.append("left")

        begun = asyncio.Event()
        resources = ProcessResources()
        wanted = asyncio.create_task(resources.aget(resource(stubborn)))
        await begun.wait()
        await resources.close(each=30, within=30)
        assert steps == ["left"]
        with pytest.raises(ph.InvalidCall):
            await wanted

    asyncio.run(run())


@pytest.mark.parametrize("ends", ["in-time", "too-late"])
def test_what_a_thread_enters_while_the_worker_ends_is_left(ends: str, caplog: pytest.LogCaptureFixture) -> None:
    begun, may_go, left = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        begun.set()
        assert may_go.wait(30)
        yield 1
        left.set()

    async def run() -> None:
        resources = ProcessResources()
        wanted = asyncio.create_task(resources.aget(resource(slow)))
        await asyncio.to_thread(begun.wait, 30)
        if ends == "too-late":
            await resources.close(each=0.01, within=30)
            assert "slow() did not end in time" in caplog.text
            assert not left.is_set()
            may_go.set()
        else:
            closing = asyncio.create_task(resources.close(each=30, within=30))
            await asyncio.sleep(0)
            may_go.set()
            await closing
            assert left.is_set()
        with pytest.raises(ph.InvalidCall):
            await wanted
        assert left.is_set()

    asyncio.run(run())


# ── of a job ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", ["before", "as it is entered", "as the caller hears of it"])
def test_a_caller_that_is_cancelled_at_any_moment_leaves_nothing_open(moment: str) -> None:
    steps: list[str] = []

    async def run() -> None:
        async def connection() -> AsyncIterator[int]:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await may_go
            steps.append("entered")
            is_in.set()
            try:
                yield 1
            finally:
                await asyncio.sleep(0)  # a clean-up that awaits
                steps.append("left")

        begun, is_in = asyncio.Event(), asyncio.Event()
        may_go = asyncio.get_running_loop().create_future()
        caller = asyncio.create_task(TaskOfItsOwn(ResourceRun(connection(), name="connection")).aenter())
        await begun.wait()
        if moment == "before":
            caller.cancel()
        elif moment == "as it is entered":
            may_go.set_result(None)
            caller.cancel()
        else:
            may_go.set_result(None)
            await is_in.wait()
            caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert steps == ["entered", "left"]

    asyncio.run(run())
