"""Middleware around jobs: where it runs, in which order, and what follows from its errors and those of the job."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import posthorse as ph
from tests.project import Project
from tests.waiting import until, until_state

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
both = pytest.mark.parametrize("is_async", [False, True])


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function around an async one; its awaitable is awaited on the loop."""

    @functools.wraps(function)
    def inner(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return inner


@both
def test_middleware_is_entered_in_order_and_left_in_reverse(app: ph.Posthorse, is_async: bool) -> None:
    steps: list[object] = []

    @app.around
    def outer(attempt: ph.RunningAttempt) -> Iterator[None]:
        steps.append("outer")
        yield
        steps.append("outer is left")

    @app.around
    async def between(attempt: ph.RunningAttempt) -> AsyncIterator[None]:
        steps.append("async")
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)
        steps.append("async is left")

    @app.around
    def inner(attempt: ph.RunningAttempt) -> Iterator[None]:
        steps.append("inner")
        yield
        steps.append("inner is left")

    def plain() -> int:
        steps.append("job")
        return 7

    async def awaited() -> int:
        return plain()

    with app.worker():
        assert app.job(awaited if is_async else plain).enqueue().result(timeout=30) == 7
    beyond = (["async"], ["async is left"]) if is_async else ([], [])
    assert steps == ["outer", *beyond[0], "inner", "job", "inner is left", *beyond[1], "outer is left"]


@both
def test_middleware_knows_the_attempt(app: ph.Posthorse, is_async: bool) -> None:
    seen: list[ph.RunningAttempt] = []

    @app.around
    def note(attempt: ph.RunningAttempt) -> Iterator[None]:
        attempt.arguments["sizes"].append("of the middleware")  # type: ignore[attr-defined]  # a list
        seen.append(attempt)
        yield

    def plain(ctx: ph.Context, sizes: list[str], name: str = "x") -> list[str]:
        if ctx.attempt == 1:
            raise ValueError
        return sizes

    async def awaited(ctx: ph.Context, sizes: list[str], name: str = "x") -> list[str]:
        return plain(ctx, sizes, name)

    kind = app.job(kind="measure", queue="mail", backoff=0)(awaited if is_async else plain)
    with app.worker():
        job = kind.enqueue(["s"])
        assert job.result(timeout=30) == ["s"]
    assert [(each.job, each.kind, each.queue, each.tenant, each.is_async) for each in seen] == [
        (job.id, "measure", "mail", None, is_async)
    ] * 2
    assert [each.attempt for each in seen] == [1, 2]
    assert seen[0].arguments == {"sizes": ["s", "of the middleware"], "name": "x"}


@pytest.mark.parametrize("colour", ["plain", "async", "wrapped"])
def test_a_job_runs_in_the_context_that_its_middleware_set_and_the_next_does_not_see_it(
    app: ph.Posthorse, colour: str
) -> None:
    left: list[str] = []

    @app.around
    def set_var(attempt: ph.RunningAttempt) -> Iterator[None]:
        assert var.get() == "unset"
        token = var.set("set")
        yield
        left.append(var.get())
        var.reset(token)

    def plain() -> str:
        return var.get()

    async def awaited() -> None:
        await asyncio.sleep(0)

    kind: Any = app.job(kind="look")({"plain": plain, "async": awaited, "wrapped": wrapped(awaited)}[colour])
    with app.worker(concurrency=1):
        results = [kind.enqueue().result(timeout=30) for _ in range(3)]
    assert results == (["set"] * 3 if colour == "plain" else [None] * 3)
    assert left == ["set"] * 3


@pytest.mark.parametrize("colour", ["plain", "async", "wrapped"])
def test_an_error_is_seen_and_fails_the_job_even_if_it_is_swallowed(app: ph.Posthorse, colour: str) -> None:
    seen: list[BaseException] = []

    @app.around
    def swallow(attempt: ph.RunningAttempt) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            seen.append(error)

    def plain() -> None:
        raise ValueError("of the job's own")

    async def awaited() -> None:
        await asyncio.sleep(0)
        plain()

    functions: dict[str, Any] = {"plain": plain, "async": awaited, "wrapped": wrapped(awaited)}
    kind = app.job(kind="fail", max_attempts=1)(functions[colour])
    with app.worker():
        status = until_state(kind.enqueue(), "failed")
    assert str(status.error) == "ValueError: of the job's own"
    assert [str(error) for error in seen] == ["of the job's own"]
    assert status.error is not None
    assert "onion" not in str(status.error.traceback)
    assert "swallow" not in str(status.error.traceback)


@both
@pytest.mark.parametrize("half", ["before", "after"])
def test_an_error_of_the_middleware_is_one_of_the_job(app: ph.Posthorse, is_async: bool, half: str) -> None:
    ran: list[int] = []

    @app.around
    def fail(attempt: ph.RunningAttempt) -> Iterator[None]:
        if half == "before":
            raise ValueError("before")
        yield
        raise ValueError("after")

    def plain() -> None:
        ran.append(1)

    async def awaited() -> None:
        ran.append(1)

    kind = app.job(kind="work", max_attempts=2, backoff=0)(awaited if is_async else plain)
    with app.worker():
        status = until_state(kind.enqueue(), "failed")
    assert (str(status.error), status.attempt) == (f"ValueError: {half}", 2)
    assert len(ran) == (0 if half == "before" else 2)


@both
def test_middleware_may_steer_the_job(app: ph.Posthorse, is_async: bool) -> None:
    @app.around
    def not_yet(attempt: ph.RunningAttempt) -> Iterator[None]:
        if attempt.arguments["wanted"] == "snooze":
            raise ph.Snooze("1h")
        if attempt.arguments["wanted"] == "give up":
            raise ph.GiveUp("never")
        yield

    def plain(wanted: str) -> None: ...

    async def awaited(wanted: str) -> None: ...

    kind = app.job(kind="work")(awaited if is_async else plain)
    with app.worker():
        later = until_state(kind.enqueue("snooze"), "scheduled")
        assert until_state(kind.enqueue("give up"), "failed").attempt == 1
    assert later.error is None


@both
def test_a_snooze_goes_on_though_the_middleware_fails(app: ph.Posthorse, is_async: bool) -> None:
    @app.around
    def fail(attempt: ph.RunningAttempt) -> Iterator[None]:
        try:
            yield
        finally:
            raise KeyError("of the clean-up")

    def plain() -> None:
        raise ph.Snooze("1h")

    async def awaited() -> None:
        raise ph.Snooze("1h")

    with app.worker():
        status = until_state(app.job(kind="work")(awaited if is_async else plain).enqueue(), "scheduled")
    assert status.error is None


def test_middleware_sees_a_cancellation_and_cannot_hold_it(app: ph.Posthorse) -> None:
    began, seen = threading.Event(), list[str]()

    @app.around
    async def hold(attempt: ph.RunningAttempt) -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            seen.append("cancelled")

    @app.job
    async def wait() -> None:
        began.set()
        await asyncio.sleep(3600)

    with app.worker():
        job = wait.enqueue()
        assert began.wait(30)
        job.cancel()
        until_state(job, "cancelled")
    assert seen == ["cancelled"]


def test_middleware_sees_a_stop_at_a_checkpoint_and_cannot_hold_it(app: ph.Posthorse) -> None:
    began, seen = threading.Event(), list[str]()

    @app.around
    def hold(attempt: ph.RunningAttempt) -> Iterator[None]:
        try:
            yield
        except ph.Interrupted:
            seen.append("interrupted")

    @app.job
    def walk(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(1_000_000), size=1):
            began.set()

    with app.worker():
        job = walk.enqueue()
        assert began.wait(30)
        job.pause()
        until_state(job, "paused")
    assert seen == ["interrupted"]


def test_middleware_sees_the_error_of_a_timeout_and_its_own_time_does_not_count(app: ph.Posthorse) -> None:
    seen: list[BaseException] = []

    @app.around
    async def slow(attempt: ph.RunningAttempt) -> AsyncIterator[None]:
        await asyncio.sleep(0.1)
        try:
            yield
        except BaseException as error:
            seen.append(error)
            raise

    @app.job(timeout=0.05, max_attempts=1)
    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    with app.worker():
        wait.enqueue(0.0).result(timeout=30)
        status = until_state(wait.enqueue(3600.0), "failed")
    assert "timeout of 0.05 s" in str(status.error)
    assert [type(error) for error in seen] == [TimeoutError]


def test_middleware_is_not_around_arguments_that_do_not_fit_or_a_plain_call(app: ph.Posthorse) -> None:
    seen: list[str] = []

    @app.around
    def note(attempt: ph.RunningAttempt) -> Iterator[None]:
        seen.append(attempt.kind)
        yield

    @app.job(kind="work", aliases=["old"])
    def work(number: int) -> int:
        return number

    earlier = ph.Posthorse(app.settings.url)

    @earlier.job(kind="old")
    def old(text: str) -> None: ...

    assert work(1) == 1
    job = old.enqueue("x")
    earlier.close()
    with app.worker():
        until(lambda: "unfit" in str(app.get_job(job.id).status().reason))
    assert seen == []


def test_the_middleware_of_an_isolated_job_runs_in_its_child_process(project: Project) -> None:
    project.write(
        """
        @app.around
        def note(attempt):
            os.environ["NOTED"] = f"{attempt.kind} {attempt.queue} {attempt.attempt}"
            yield
            del os.environ["NOTED"]

        @app.job(isolation="process", queue="mail")
        def plain() -> list:
            return [os.environ["NOTED"], os.getpid() == int(os.environ.get("RUNNER", "0"))]

        @app.job(isolation="process", queue="mail")
        async def awaited() -> list:
            return [os.environ["NOTED"], "NOTED" in os.environ]
        """
    )
    with project.working():
        assert project.result("plain") == ["plain default 1", False]
        assert project.result("awaited") == ["awaited default 1", True]
