"""Wait for news from the store without polling; each database notifies in its own way.

A wake is a hint, never the truth. A process that waits also looks now and then, so a lost wake costs a moment and never
a job.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from posthorse.clock import monotonic

CLOSEST_LOOKS = 0.002
"""Minimum seconds between two wakes, so that a busy process does not make idle ones spin."""

WIDEST_LOOKS = 0.05
"""Maximum seconds between two wakes by hints that led to nothing, as from a long job that commits slice after slice."""

CALM = 0.1
"""Seconds without a hint after which the next one wakes at once."""

LOOK_WHEN_BLIND = 0.05
"""Seconds between two looks if nothing signals writes."""


class Watch:
    """Wake a waiting task. The base class knows only `wake`; subclasses notice writes of other processes.

    closest: minimum seconds between two wakes.
    """

    def __init__(self, *, closest: float = CLOSEST_LOOKS, blind: float = LOOK_WHEN_BLIND) -> None:
        self._closest = closest
        self._widest = max(closest, WIDEST_LOOKS)
        self._apart = closest
        self.blind = blind
        """Maximum seconds of a wait if nothing signals writes."""
        self._news = asyncio.Event()
        self._certain = asyncio.Event()
        self._woken_at = 0.0

    def wake(self) -> None:
        """End a wait, now or when it begins."""
        self._certain.set()
        self._news.set()

    def hint(self) -> None:
        """Wake, perhaps in vain: hints that lead to nothing are followed less and less often."""
        self._news.set()

    @property
    def is_certain(self) -> bool:
        """Whether there is news since the last `clear` that is not only a hint."""
        return self._certain.is_set()

    def clear(self) -> None:
        """Forget the news so far; call it before looking at the store."""
        self._certain.clear()
        self._news.clear()

    def found(self) -> None:
        """Record that the last wake led to something."""
        self._apart = self._closest

    def patience(self, poll: float) -> float:
        """Return the seconds until the next look without news; `poll` applies to a runner that is idle alone."""
        return poll

    async def wait(self, timeout: float) -> bool:
        """Wait for news since the last `clear`; return False if there was none in time (seconds)."""
        if not await self._hears(timeout):
            return False
        if monotonic() - self._woken_at > CALM:
            self._apart = self._closest
        elif not self._certain.is_set():
            await self._let_pass(self._woken_at + self._apart - monotonic())
            self._apart = min(2 * self._apart, self._widest)
        early = self._woken_at + self._closest - monotonic()
        if early > 0:
            await asyncio.sleep(early)
        self._woken_at = monotonic()
        return True

    async def _let_pass(self, seconds: float) -> None:
        """Wait so long, unless certain news comes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._certain.wait()

    async def _hears(self, timeout: float) -> bool:
        """Wait for news; return False if there was none in time."""
        try:
            # Not wait_for: on Python 3.11 it loses a cancellation that comes together with news.
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class BlindWatch(Watch):
    """Knows only `wake`, and so looks every `blind` seconds."""

    async def _hears(self, timeout: float) -> bool:
        return await super()._hears(min(timeout, self.blind))
