"""Waiting for news from the store without asking it: each store tells in its own way.

A wake is a hint. Whoever waits also looks now and then, so a lost one costs a moment and never a job.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from posthorse.clock import monotonic

CLOSEST_LOOKS = 0.002
"""Seconds between two wakes at least: a busy neighbour must not make the idle ones spin."""

WIDEST_LOOKS = 0.05
"""Seconds between two wakes by hints that led to nothing, at most: a long job beside idle places commits slice after
slice."""

CALM = 0.1
"""Seconds without a hint, after which the next one is heard at once."""

LOOK_WHEN_BLIND = 0.05
"""Seconds between two looks where nothing tells of writes."""


class Watch:
    """Wakes whoever waits. This one knows only `wake`; its heirs hear of writes by other processes.

    `closest`: seconds between two wakes at least.
    """

    def __init__(self, *, closest: float = CLOSEST_LOOKS, blind: float = LOOK_WHEN_BLIND) -> None:
        self._closest = closest
        self._widest = max(closest, WIDEST_LOOKS)
        self._apart = closest
        self.blind = blind
        """Seconds of a wait at most, where nothing tells of writes."""
        self._news = asyncio.Event()
        self._certain = asyncio.Event()
        self._woken_at = 0.0

    def wake(self) -> None:
        """Ends a wait, now or when it begins."""
        self._certain.set()
        self._news.set()

    def hint(self) -> None:
        """The same for what need not concern whoever waits: hints in vain are heeded less and less often."""
        self._news.set()

    @property
    def is_certain(self) -> bool:
        """True when there are news since the last `clear` that are no mere hints."""
        return self._certain.is_set()

    def clear(self) -> None:
        """Forgets the news so far: call it before looking at the store."""
        self._certain.clear()
        self._news.clear()

    def found(self) -> None:
        """The last wake was not in vain."""
        self._apart = self._closest

    def patience(self, poll: float) -> float:
        """Seconds until the next look without any news, for who looks every `poll` seconds when alone."""
        return poll

    async def wait(self, timeout: float) -> bool:
        """Waits for news since the last `clear`; false when there were none in time (seconds)."""
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
        """Waits so long, unless there are news for certain."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._certain.wait()

    async def _hears(self, timeout: float) -> bool:
        """Waits for news; false when there were none in time."""
        try:
            # Not wait_for, which on Python 3.11 loses a cancellation that comes together with news.
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
    """Hears of nothing but `wake`, and so looks every `blind` seconds."""

    async def _hears(self, timeout: float) -> bool:
        return await super()._hears(min(timeout, self.blind))
