"""Clocks: wall time for a store without its own, boot time for leases, the name of the boot, and monotonic time for
waiting.

This module knows nothing of jobs. Times are integers, microseconds since the epoch (wall) or since boot (boot).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds on the monotonic clock, which all processes of a machine share. Everything in Posthorse that waits, measures
or holds a lease uses it: libraries that freeze `time.monotonic` in tests do not affect it.
"""

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: the boot moment, to the minute, is the best name
        return f"boot-{round((time.time() - monotonic()) / 60)}"


@dataclass(slots=True)
class Clock:
    """The only clock that decides, with the shift by which tests move it.

    A store with its own clock (PostgreSQL) uses only the shift.
    """

    shift: int = 0
    boot: str = field(default_factory=_boot_id)
    """Identifies this boot of the machine: a lease from another boot has ended."""

    def now(self) -> int:
        """Return wall time in microseconds since the epoch."""
        return time.time_ns() // 1000 + self.shift

    def boot_now(self) -> int:
        """Return microseconds since this machine booted, which steps of the wall clock do not affect."""
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1000 + self.shift

    def advance(self, by: timedelta) -> None:
        """Move the clock, for tests."""
        self.shift += microseconds(by)


_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def until_tick(every: float) -> float:
    """Return the seconds until the monotonic clock is at a full multiple of `every`, or at the next if that is very
    near.

    Small chores that use such ticks wake a process, and others, all at once: most of the cost of an idle process is
    being woken. Timers may end a moment early; then their tick counts as over.
    """
    left = every - monotonic() % every
    return left if left > every / 10 else left + every


def microseconds(span: timedelta) -> int:
    """Convert a timedelta to whole microseconds."""
    return span // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    """Convert microseconds since the epoch to an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def micros_of(at: datetime) -> int:
    """Convert an aware datetime to microseconds since the epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)
