"""What follows from an error, according to the exception that the job raised and the options of its kind. Pure.

Errors come alone or in groups, as asyncio.TaskGroup raises them; an exception in a group counts as if it came alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, cast

from posthorse.clock import microseconds
from posthorse.errors import PosthorseError, UsageError
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.retry import BackoffFunction
from posthorse.rules.values.texts import message_of, name_of


class Steering(PosthorseError):
    """Base of the exceptions that steer a job; a slice never tolerates them as the error of an item."""


class Retry(Steering):
    """Raise it to retry: this attempt failed, and the next one starts after exactly `after`, or after the `backoff` of
    the kind without it.

    It spends an attempt as any error does. `after` is a duration.
    """

    def __init__(self, reason: str = "", *, after: Duration | None = None) -> None:
        self.after: timedelta | None = None if after is None else as_timedelta(after, name="Retry.after")
        super().__init__(reason or "the job asked to be retried")


class Snooze(Steering):
    """Raise it to run the job again after `duration`. It spends no attempt, however often it happens."""

    def __init__(self, duration: Duration, reason: str = "") -> None:
        self.duration: timedelta = as_timedelta(duration, name="Snooze")
        self.reason = reason
        super().__init__(reason or "the job asked to run later")


class GiveUp(Steering):
    """Raise it to fail for good: the job becomes a dead letter at once, without further attempts."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job gave up")


class ChildFailed(GiveUp):
    """Raised by `ctx.join()` if a child of the job is a dead letter. Uncaught, it fails the job for good."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "a child failed")


class Skip(Steering):
    """Raise it to end as cancelled, because there is nothing to do; steps of a flow that need it are skipped as well.

    It spends nothing, and no flow fails because of it.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job had nothing to do")


for _public in (Retry, Snooze, GiveUp, ChildFailed, Skip):
    _public.__module__ = "posthorse"  # evidence shows the public name


class Verdict(NamedTuple):
    """What an error leads to: the wait in microseconds, if it is set, and why there is no further attempt, if so."""

    wait: int | None = None
    gives_up: str | None = None


def leaves(error: BaseException) -> Sequence[BaseException]:
    """Return the errors in a group, at any depth; a single error is returned alone."""
    if not isinstance(error, BaseExceptionGroup):
        return (error,)
    found: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseExceptionGroup):
            left += reversed(cast("Sequence[BaseException]", one.exceptions))
        else:
            found.append(one)
    return found


def only_error_of(error: BaseException) -> BaseException:
    """Return the only error in a group; the error itself if it is not a group, or has several."""
    parts = leaves(error)
    return parts[0] if len(parts) == 1 else error


def snooze_in(error: BaseException) -> Snooze | None:
    """Return the longest snooze in a group of snoozes only; any other error counts as a failure."""
    parts = leaves(error)
    snoozes = [part for part in parts if isinstance(part, Snooze)]
    if len(snoozes) < len(parts):
        return None
    return max(snoozes, key=lambda snooze: snooze.duration)


def skip_in(error: BaseException) -> Skip | None:
    """Return the skip that is the only error of a group; any other error in it counts as a failure."""
    part = only_error_of(error)
    return part if isinstance(part, Skip) else None


def verdict_on(
    error: BaseException,
    attempt: int,
    *,
    retry_on: Sequence[type[BaseException]] | None,
    give_up_on: Sequence[type[BaseException]],
    backoff: BackoffFunction | None,
) -> Verdict:
    """Decide what follows from an error of that attempt, or from a group of errors.

    In a group, one error that gives up is enough, and then one that must not be retried; the longest requested wait
    applies. Whatever `backoff` raises, propagates.
    """
    if backoff is None and retry_on is None and not give_up_on and not isinstance(error, _DECISIVE):
        return UNDECIDED  # as most errors are
    parts = leaves(error)
    for part in parts:
        if isinstance(part, GiveUp):
            return Verdict(gives_up=message_of(part))
    failed = [part for part in parts if not isinstance(part, Steering)]
    if failed and (why := _why_not_again(error, failed, retry_on, tuple(give_up_on))) is not None:
        return Verdict(gives_up=why)
    waits = [part.after for part in parts if isinstance(part, Retry) and part.after is not None]
    if waits:
        return Verdict(wait=microseconds(max(waits)))
    if backoff is None:
        return Verdict()
    return Verdict(wait=microseconds(as_timedelta(backoff(attempt, only_error_of(error)), name="what backoff gave")))


_DECISIVE: tuple[type[BaseException], ...] = (BaseExceptionGroup, Steering, UsageError)
"""Errors that may decide by themselves what follows."""

UNDECIDED = Verdict()


def _why_not_again(
    error: BaseException,
    failed: Sequence[BaseException],
    retry_on: Sequence[type[BaseException]] | None,
    give_up_on: tuple[type[BaseException], ...],
) -> str | None:
    """Return why there is no further attempt; None if there is. `failed` is `error`, or the errors in the group."""
    for each in (error, *failed):
        if isinstance(each, give_up_on):
            return f"{name_of(type(each))} is in give_up_on"
    if retry_on is None:
        for each in failed:
            if isinstance(each, UsageError):
                return f"{name_of(type(each))} would come again: the call itself is wrong"
    elif not isinstance(error, tuple(retry_on)):
        for each in failed:
            if not isinstance(each, tuple(retry_on)):
                return f"{name_of(type(each))} is not in retry_on"
    return None
