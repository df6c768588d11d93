"""How long a failed attempt waits before the next one. Pure: chance comes in as a number."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta


class Backoff(msgspec.Struct, frozen=True):
    """Exponential backoff with full jitter.

    The wait before attempt n + 1 is drawn evenly from (1 - jitter, 1] × min(limit, base · factor^(n - 1)).
    `jitter` 1.0 is the "full jitter" of M. Brooker, "Exponential Backoff And Jitter" (2015): the best at
    spreading a herd. Durations are seconds, timedelta or text.
    """

    base: Duration = 2.0
    factor: float = 2.0
    limit: Duration = 3600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        as_timedelta(self.base, name="Backoff.base")
        as_timedelta(self.limit, name="Backoff.limit")
        if not self.factor >= 1 or self.factor > 1e6:
            raise InvalidOption(f"Backoff.factor is {self.factor!r}; it must lie between 1 and a million")
        if not 0 <= self.jitter <= 1:
            raise InvalidOption(f"Backoff.jitter is {self.jitter!r}; it must lie between 0 and 1")

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Base (s), factor, limit (s), jitter: what travels with a job that has a backoff of its own."""
        base = as_timedelta(self.base, name="base").total_seconds()
        return base, self.factor, as_timedelta(self.limit, name="limit").total_seconds(), self.jitter

    def wait(self, failures: int, chance: float) -> timedelta:
        """The wait after the given number of failed attempts (1 or more); `chance` lies in [0, 1)."""
        base, factor, limit, jitter = self.as_tuple()
        # The exponent is bounded so that a job with a thousand attempts does not overflow a float.
        longest = min(limit, base * factor ** min(failures - 1, 64))
        return timedelta(seconds=longest * (1 - jitter * chance))


def as_backoff(value: Backoff | Duration) -> Backoff:
    """A plain duration is a fixed wait: 0 retries at once."""
    if isinstance(value, Backoff):
        return value
    seconds = as_timedelta(value, name="backoff").total_seconds()
    return Backoff(base=seconds, factor=1.0, limit=seconds, jitter=0.0)
