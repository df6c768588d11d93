"""The clocks: wall time for a store without one of its own, boot time for leases, and the name of that boot;
monotonic time for waiting.

Knows nothing of jobs. Times are integers, microseconds since the epoch (wall) or since boot (boot).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds on the monotonic clock, which all processes of a machine share. Everything here that waits, measures or
holds a lease uses this one: libraries that freeze `time.monotonic` in tests do not reach it."""

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: the boot moment, to the minute, is the best name there is
        return f"boot-{round((time.time() - monotonic()) / 60)}"


@dataclass(slots=True)
class Clock:
    """The one clock that judges, and the shift with which tests move it.

    A store with a clock of its own (PostgreSQL) adds only the shift.
    """

    shift: int = 0
    boot: str = field(default_factory=_boot_id)
    """What names this boot of the machine: a lease from another boot is over."""

    def now(self) -> int:
        """Wall time in microseconds since the epoch."""
        return time.time_ns() // 1000 + self.shift

    def boot_now(self) -> int:
        """Microseconds since this machine booted; immune to steps of the wall clock."""
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1000 + self.shift

    def advance(self, by: timedelta) -> None:
        """Move the clock, for tests."""
        self.shift += microseconds(by)


_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def until_tick(every: float) -> float:
    """Seconds until the monotonic clock is at a full multiple of `every`, or at the next where that is very near.

    Small chores that go by such ticks wake a process, and its neighbours, all at once: most of what an idle one
    costs is to be woken. Timers may end a moment early, and then the tick that they were for counts as over.
    """
    left = every - monotonic() % every
    return left if left > every / 10 else left + every


def microseconds(span: timedelta) -> int:
    """A timedelta as whole microseconds."""
    return span // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def micros_of(at: datetime) -> int:
    """An aware datetime as microseconds since the epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)
