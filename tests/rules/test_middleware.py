"""Middleware around one thing: its two halves, and which error goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

import posthorse as ph
from posthorse.errors import InvalidCall, InvalidOption, StoreUnreachable
from posthorse.rules.middleware import Middleware, MiddlewareRun, Submission, changed_by

ERROR = ValueError("of the job's own")


def watches(subject: list[object]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        subject.append(error)
        raise


def swallows(subject: list[object]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        subject.append(error)


def replaces(subject: list[object]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        raise KeyError("of the middleware") from error


def fails_after(subject: list[object]) -> Iterator[None]:
    try:
        yield
    finally:
        raise KeyError("of the middleware")


def ends_at_once(subject: list[object]) -> Iterator[None]:
    if subject == ["never"]:
        yield


def yields_twice(subject: list[object]) -> Iterator[None]:
    yield
    yield


def as_async(function: Callable[[Any], Iterator[None]]) -> Callable[[Any], AsyncIterator[None]]:
    """Return the same middleware as an async one."""

    async def around(subject: object) -> AsyncIterator[None]:
        steps = function(subject)
        error: BaseException | None = None
        while True:
            try:
                next(steps) if error is None else steps.throw(error)  # type: ignore[attr-defined]  # a generator
            except StopIteration:
                return
            try:
                yield
                error = None
            except BaseException as raised:
                error = raised

    return around


def passed(function: Callable[[Any], Iterator[None]], error: BaseException | None, is_async: bool) -> tuple[Any, Any]:
    """Return what goes on after a middleware, and what it saw."""
    saw: list[object] = []
    if not is_async:
        run = MiddlewareRun[None](function, saw)
        run.enter()
        return run.leave(error), saw

    async def main() -> BaseException | None:
        run = MiddlewareRun[None](as_async(function), saw)
        await run.aenter()
        return await run.aleave(error)

    return asyncio.run(main()), saw


both = pytest.mark.parametrize("is_async", [False, True])


@both
@pytest.mark.parametrize("function", [watches, swallows])
def test_an_error_is_seen_and_goes_on_even_if_it_is_swallowed(
    function: Callable[[Any], Iterator[None]], is_async: bool
) -> None:
    assert passed(function, ERROR, is_async) == (ERROR, [ERROR])
    assert passed(function, None, is_async) == (None, [])


@both
def test_an_error_of_the_middleware_takes_the_place_of_the_job_s(is_async: bool) -> None:
    error, _ = passed(replaces, ERROR, is_async)
    assert isinstance(error, KeyError)
    assert error.__cause__ is ERROR
    assert passed(replaces, None, is_async) == (None, [])
    error, _ = passed(fails_after, None, is_async)
    assert isinstance(error, KeyError)


STEERING = (
    ph.Interrupted("the job stops here"),
    asyncio.CancelledError(),
    ph.Snooze("1m"),
    ph.Retry("not yet"),
    ph.GiveUp("never"),
    StoreUnreachable("it is away"),
    ExceptionGroup("several", [ValueError(), ph.Snooze("1m")]),
)


@both
@pytest.mark.parametrize("error", STEERING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("function", [swallows, replaces, fails_after])
def test_what_steers_a_job_goes_on_whatever_a_middleware_does(
    function: Callable[[Any], Iterator[None]], error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "posthorse.middleware"):
        assert passed(function, error, is_async)[0] is error
    assert len(caplog.records) == (0 if function is swallows else 1)


def test_a_stop_iteration_goes_on_as_it_is() -> None:
    error = StopIteration("of the job's own")
    assert passed(watches, error, False)[0] is error


@both
def test_the_traceback_of_an_error_stays_that_of_the_job(is_async: bool) -> None:
    try:
        raise ValueError("of the job's own")
    except ValueError as raised:
        error, trace = raised, raised.__traceback__
    assert passed(watches, error, is_async)[0].__traceback__ is trace


@both
def test_one_that_does_not_yield_once_is_an_error(is_async: bool) -> None:
    with pytest.raises(InvalidCall, match=r"around|ends_at_once"):
        passed(ends_at_once, None, is_async)
    error, _ = passed(yields_twice, None, is_async)
    assert isinstance(error, InvalidCall)
    assert passed(yields_twice, ERROR, is_async)[0] is ERROR


def plain(attempt: object) -> None: ...


async def awaited(attempt: object) -> None: ...


def of_nothing() -> Iterator[None]:
    yield


async def of_more(attempt: object, app: object) -> AsyncIterator[None]:
    yield


async def around_both(subject: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (plain, "needs a generator function that yields once around each job"),
        (awaited, "needs a generator function"),
        (3, "needs a generator function that yields once around each job, not 3"),
        (of_nothing, "is called with the attempt alone"),
        (of_more, "missing a required argument: 'app'"),
    ],
)
def test_what_is_not_a_middleware_is_refused(function: object, why: str) -> None:
    middleware = Middleware()
    with pytest.raises(InvalidOption, match=why):
        middleware.add_around(cast("Any", function))
    assert middleware.around("kind") == ()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (plain, "needs a generator function that yields once around each call that enqueues"),
        (around_both, "needs a generator function"),
        (of_nothing, "is called with the jobs alone"),
    ],
)
def test_what_is_not_a_middleware_around_enqueuing_is_refused(function: object, why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        Middleware().add_around_enqueue(cast("Any", function))


JOB = Submission(kind="k", queue="q", tenant=None, tags=("a",))


def test_tags_are_added_once() -> None:
    assert JOB.tagged("b", "a", "b").tags == ("a", "b")
    assert changed_by([JOB], [JOB.tagged("b")]) == [JOB.tagged("b")]
    assert changed_by([JOB], None) == [JOB]


@pytest.mark.parametrize("tags", [("",), tuple(str(number) for number in range(1_000))])
def test_tags_that_a_job_cannot_have_are_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(InvalidOption):
        JOB.tagged(*tags)


@pytest.mark.parametrize(
    "yielded", [[], [JOB, JOB], JOB, ["a"], [Submission(kind="k", queue="r", tenant=None, tags=())]]
)
def test_a_middleware_changes_nothing_but_tags(yielded: object) -> None:
    with pytest.raises(InvalidOption, match="the same jobs in the same order with other tags"):
        changed_by([JOB], yielded)
