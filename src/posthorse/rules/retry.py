"""How long a failed attempt waits before the next one. Pure: chance comes in as a number."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self, cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.values.type_mismatch import short

BackoffFunction = Callable[[int, BaseException], Duration]
"""Takes the number of the failed attempt and its error; returns how long to wait."""

MAX_WAITS = 100


class BackoffNumbers(msgspec.Struct, frozen=True, array_like=True):
    """A backoff as it is stored with a job that has its own. Durations are seconds."""

    base: float
    factor: float
    limit: float
    jitter: float
    step: float = 0.0
    waits: tuple[float, ...] = ()


class Backoff(msgspec.Struct, frozen=True):
    """Waits that grow, with jitter; without arguments, exponential from 2 s to an hour.

    The wait before attempt n + 1 is drawn evenly from (1 - jitter, 1] × min(limit, base · factor^(n - 1) + step · (n -
    1)). `jitter` 1.0 is the "full jitter" of M. Brooker, "Exponential Backoff And Jitter" (2015): the best at spreading
    a herd.

    waits: use these waits in order instead, and repeat the last one.

    Durations are seconds, timedelta or text. Raises InvalidOption.
    """

    base: Duration = 2.0
    factor: float = 2.0
    limit: Duration = 3600.0
    jitter: float = 0.5
    step: Duration = 0.0
    waits: tuple[Duration, ...] = ()

    def __post_init__(self) -> None:
        for name in ("base", "limit", "step"):
            as_timedelta(getattr(self, name), name=f"Backoff.{name}")
        _check_waits(self.waits)
        if len(self.waits) > MAX_WAITS:
            raise InvalidOption(f"Backoff.waits has {len(self.waits)} durations; it may have {MAX_WAITS}")
        if not _is_number(self.factor) or not 1 <= self.factor <= 1e6:
            raise InvalidOption(f"Backoff.factor is {short(self.factor)}; it must lie between 1 and a million")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise InvalidOption(f"Backoff.jitter is {short(self.jitter)}; it must lie between 0 and 1")

    @classmethod
    def linear(cls, step: Duration, *, limit: Duration = "1d", jitter: float = 0.0) -> Self:
        """Wait one step after the first attempt, two after the second, and so on up to the limit."""
        return cls(base=step, factor=1.0, step=step, limit=limit, jitter=jitter)

    @classmethod
    def of_numbers(cls, numbers: BackoffNumbers) -> Self:
        """Return the backoff that `as_numbers` stored."""
        return cls(*msgspec.structs.astuple(numbers))

    def as_numbers(self) -> BackoffNumbers:
        """Return what is stored with a job that has a backoff of its own."""
        return BackoffNumbers(
            _seconds(self.base),
            self.factor,
            _seconds(self.limit),
            self.jitter,
            _seconds(self.step),
            tuple(map(_seconds, self.waits)),
        )

    def wait(self, failures: int, chance: float) -> timedelta:
        """Return the wait after the given number of failed attempts (1 or more); `chance` is in [0, 1)."""
        numbers = self.as_numbers()
        if numbers.waits:
            longest = numbers.waits[min(failures, len(numbers.waits)) - 1]
        else:
            longest = min(numbers.limit, _grown(numbers, failures - 1))
        return timedelta(seconds=longest * (1 - numbers.jitter * chance))


def as_backoff(value: Backoff | Duration | Sequence[Duration]) -> Backoff:
    """Convert a duration to a fixed wait (0 retries at once), or a list of durations to waits in order."""
    if isinstance(value, Backoff):
        return value
    if isinstance(value, list | tuple):
        waits = tuple(cast("Sequence[Duration]", value))
        if not waits:
            raise InvalidOption("backoff is an empty list; give durations, or 0 to try again at once")
        return Backoff(waits=waits, jitter=0.0)
    if callable(value):
        raise InvalidOption("backoff is a function, which cannot be stored with a job; give it to @app.job(backoff=…)")
    seconds = as_timedelta(cast("Duration", value), name="backoff").total_seconds()
    return Backoff(base=seconds, factor=1.0, limit=seconds, jitter=0.0)


def checked_backoff(value: object) -> Backoff | BackoffFunction:
    """Check what a decorator accepts: a backoff, or a function of the attempt and its error. Raises InvalidOption."""
    if not isinstance(value, Backoff) and callable(value):
        if inspect.iscoroutinefunction(value):
            raise InvalidOption("backoff is an async function; it has to answer at once")
        try:
            inspect.signature(value).bind(1, ValueError())
        except TypeError:
            raise InvalidOption("backoff is a function that cannot be called with (attempt, error)") from None
        except ValueError:
            pass  # a built-in function without a readable signature
        return cast("BackoffFunction", value)
    return as_backoff(cast("Backoff | Duration", value))


def checked_errors(value: object, *, name: str) -> tuple[type[BaseException], ...]:
    """Check an exception class, or several. Raises InvalidOption."""
    given: tuple[object, ...] = tuple(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else (value,)
    for each in given:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            shown = short(value)  # pyright: ignore[reportUnknownArgumentType]  # it may hold anything
            raise InvalidOption(
                f"{name} is {shown}; give an exception class such as ConnectionError, or a tuple of them"
            )
    if not given:
        raise InvalidOption(f"{name} is empty; name an exception class, or leave it out")
    return cast("tuple[type[BaseException], ...]", given)


def _check_waits(waits: object) -> None:
    if not isinstance(waits, list | tuple):
        raise InvalidOption(f"Backoff.waits is {short(waits)}; give a tuple of durations")
    for wait in cast("Sequence[Duration]", waits):
        as_timedelta(wait, name="Backoff.waits")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _grown(numbers: BackoffNumbers, times: int) -> float:
    try:
        grown = numbers.base * numbers.factor**times
    except OverflowError:  # beyond any limit, unless there is nothing to grow
        grown = numbers.limit if numbers.base else 0.0
    return grown + numbers.step * times


def _seconds(duration: Duration) -> float:
    return as_timedelta(duration, name="Backoff").total_seconds()
