"""Wrapped functions: plain ones that return an awaitable, as wrappers around async functions do, or as annotated."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import posthorse as ph
from tests.waiting import until, until_state
from tests.worker import isolated_jobs as isolated


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as a decorator does that was written for plain functions."""

    @functools.wraps(function)
    def inner(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return inner


@pytest.fixture
def isolated_app(sqlite_url: str) -> Iterator[ph.Posthorse]:
    isolated.app.use_url(sqlite_url)
    yield isolated.app
    isolated.app.close()


def test_what_a_plain_wrapper_gives_is_awaited_once(app: ph.Posthorse) -> None:
    ran: list[int] = []

    @app.job
    @wrapped
    async def double(n: int) -> int:
        ran.append(n)
        await asyncio.sleep(0)
        return 2 * n

    with app.worker():
        assert double.enqueue(21).result(timeout=30) == 42
    assert ran == [21]


def test_a_wrapper_that_runs_a_loop_of_its_own_is_left_to_it(app: ph.Posthorse) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    @app.job
    @functools.wraps(double)
    def blocking(n: int) -> int:
        return asyncio.run(double(n))

    with app.worker():
        assert blocking.enqueue(21).result(timeout=30) == 42


def test_a_function_annotated_to_give_an_awaitable_is_called_on_the_loop(app: ph.Posthorse) -> None:
    async def double(n: int) -> int:
        return 2 * n

    @app.job(timeout="30s")
    def started(n: int) -> Awaitable[int]:
        return asyncio.create_task(double(n))

    with app.worker():
        result: object = started.enqueue(21).result(timeout=30)
        assert result == 42


def test_a_wrapped_job_goes_in_slices(app: ph.Posthorse) -> None:
    @app.job
    @wrapped
    async def count(ctx: ph.Context, upto: int) -> list[int]:
        seen = ctx.keep("seen", list[int]())
        async for batch in ctx.slices(range(upto), size=2):
            seen.extend(batch)
            ctx.set_progress(len(seen))
        return seen

    with app.worker():
        assert count.enqueue(5).result(timeout=30) == [0, 1, 2, 3, 4]


def test_a_wrapped_job_is_cancelled_where_it_waits(app: ph.Posthorse) -> None:
    waits, cancelled = threading.Event(), threading.Event()

    @app.job
    @wrapped
    async def endless() -> None:
        waits.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with app.worker():
        job = endless.enqueue()
        assert waits.wait(30)
        job.cancel()
        assert until_state(job, "cancelled").attempt == 1
    assert cancelled.is_set()


def test_a_wrapped_job_that_was_cancelled_before_it_is_awaited_does_not_begin(app: ph.Posthorse) -> None:
    entered = threading.Event()
    ran: list[str] = []

    async def body(ctx: ph.Context) -> None:
        ran.append("body")

    @app.job
    @functools.wraps(body)
    def held(ctx: ph.Context) -> Any:  # noqa: ANN401 - a coroutine, which its annotation does not tell
        entered.set()
        until(lambda: ctx.stop_requested)
        return body(ctx)

    with app.worker():
        job = held.enqueue()
        assert entered.wait(30)
        job.cancel()
        until_state(job, "cancelled")
    assert ran == []


def test_a_wrapped_job_is_ended_by_its_timeout(app: ph.Posthorse) -> None:
    @app.job(timeout="0.2s", max_attempts=1)
    @wrapped
    async def endless(ctx: ph.Context) -> None:
        await asyncio.get_running_loop().create_future()

    with app.worker(), pytest.raises(ph.JobFailed, match=r"longer than its timeout of 0\.2 s"):
        endless.enqueue().result(timeout=30)


def test_a_wrapped_job_without_a_context_cannot_keep_a_timeout_and_says_how_it_could(app: ph.Posthorse) -> None:
    @wrapped
    async def endless() -> None: ...

    with pytest.raises(
        ph.InvalidOption, match="wrapped in a plain one, which runs in a thread; make the wrapper async"
    ):
        app.job(timeout="1s")(endless)


def test_wrapped_jobs_are_awaited_and_cancelled_in_processes_of_their_own(isolated_app: ph.Posthorse) -> None:
    with isolated_app.worker():
        assert isolated.wrapped_double.enqueue(21).result(timeout=30) == 42
        job = isolated.wrapped_endless.enqueue()
        until_state(job, "processing")
        job.cancel()
        until_state(job, "cancelled")
