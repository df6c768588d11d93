"""Doubles: functions that fail at first, workers that die in a slice, leases that are lost."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from posthorse import failpoints
from posthorse.app.job import Job
from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short
from posthorse.testing.crashes import Crash

P = ParamSpec("P")
R = TypeVar("R")


def flaky(
    function: Callable[P, R], *, fails: int = 1, error: BaseException | type[BaseException] = ConnectionError
) -> Callable[P, R]:
    """Return a function that raises `error` at its first calls, `fails` of them, and then does what the given one does.

    ::

        monkeypatch.setattr(shop, "bank", pt.flaky(shop.bank, fails=2, error=TimeoutError))
    """
    left = _checked_count(fails, "fails")

    def fail() -> None:
        nonlocal left
        if left > 0:
            left -= 1
            raise error

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def afails_first(*args: P.args, **kwargs: P.kwargs) -> object:
            fail()
            return await cast("Callable[P, Awaitable[object]]", function)(*args, **kwargs)

        return cast("Callable[P, R]", afails_first)

    @wraps(function)
    def fails_first(*args: P.args, **kwargs: P.kwargs) -> R:
        fail()
        return function(*args, **kwargs)

    return fails_first


@contextmanager
def crash_in_slice(number: int) -> Iterator[None]:
    """Let the worker die once, at the end of the slice of this number, before it is committed.

    ::

        with pt.crash_in_slice(3):
            posthorse.drain()  # the job goes on from the end of its second slice

    Slices are counted from 1, those of all long jobs in the block together. The job is lost and continued, as after
    `kill -9`; but its `finally` blocks run.
    """
    left = _checked_count(number, "number")

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash(f"the worker died in slice {number}, as the test wanted")

    with failpoints.passing("before_slice_commit", die):
        yield


def lose_lease(job: Job[object]) -> None:
    """Let a running job lose its lease, as if its worker had been silent for too long; call it while the job runs.

    Another attempt may run from now on, and whatever this one still does has no effect. Raises what `job.pause` raises.
    """
    job.pause(force=True)
    job.resume()


def _checked_count(value: object, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InvalidOption(f"{name} is {short(value)}; it must be a whole number, 1 or more")
