"""What follows from an error: as the job's own code says by what it raises, or the options of its kind. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from posthorse.clock import microseconds
from posthorse.errors import PosthorseError
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.retry import BackoffFunction


class Steering(PosthorseError):
    """Base of those that steer; no slice tolerates them as an error of an item."""


class Retry(Steering):
    """This attempt failed; the next one starts after exactly `after`, or as `backoff` says when that is left out.

    It spends an attempt as any error does.
    """

    def __init__(self, reason: str = "", *, after: Duration | None = None) -> None:
        self.after: timedelta | None = None if after is None else as_timedelta(after, name="Retry.after")
        super().__init__(reason or "the job asked to be tried again")


class Snooze(Steering):
    """Not now: the job starts again after `duration`. It spends nothing, however often it happens."""

    def __init__(self, duration: Duration, reason: str = "") -> None:
        self.duration: timedelta = as_timedelta(duration, name="Snooze")
        self.reason = reason
        super().__init__(reason or "the job asked to be run later")


class GiveUp(Steering):
    """No further attempt can help: the job becomes a dead letter at once."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job gave up")


for _public in (Retry, Snooze, GiveUp):
    _public.__module__ = "posthorse"  # the name under which evidence tells of them


class Verdict(NamedTuple):
    """What an error leads to: the wait in microseconds if it is settled, and why there is no further attempt, if so."""

    wait: int | None = None
    gives_up: str | None = None


def verdict_on(
    error: BaseException,
    attempt: int,
    *,
    retry_on: Sequence[type[BaseException]] | None,
    give_up_on: Sequence[type[BaseException]],
    backoff: BackoffFunction | None,
) -> Verdict:
    """What follows from an error of that attempt. Raises whatever `backoff` raises."""
    if isinstance(error, GiveUp):
        return Verdict(gives_up=str(error))
    if isinstance(error, Retry):
        if error.after is not None:
            return Verdict(wait=microseconds(error.after))
    elif isinstance(error, tuple(give_up_on)):
        return Verdict(gives_up=f"{type(error).__name__} is in give_up_on")
    elif retry_on is not None and not isinstance(error, tuple(retry_on)):
        return Verdict(gives_up=f"{type(error).__name__} is not in retry_on")
    if backoff is None:
        return Verdict()
    return Verdict(wait=microseconds(as_timedelta(backoff(attempt, error), name="what backoff gave")))
