"""The pace of a waiting room: when the jobs of callers that wait for results are looked at. It knows no clock and no
store; moments and times are in seconds.
"""

from __future__ import annotations

from math import inf

FIRST_PAUSE, MAX_PAUSE = 0.005, 0.25
"""Time until a caller's job is looked at first, and between later looks at most."""

GROWTH = 1.3
"""By so much each pause of a caller is longer than the one before."""

APART, MAX_APART = 0.005, 0.1
"""Minimum time between two looks for each caller that waits, and for all of them at most."""

CALM = 0.2
"""After so long without news, earlier news that led to nothing is forgotten."""


class CallerPace:
    """When the job of one caller is looked at without news."""

    __slots__ = ("due", "pause")

    def __init__(self, now: float) -> None:
        self.pause = FIRST_PAUSE
        self.due = now + FIRST_PAUSE

    def is_due(self, now: float) -> bool:
        """Return whether it takes part in a look now, perhaps a little early, so that callers share looks."""
        return self.due - now <= self.pause / 2

    def looked(self, now: float) -> None:
        """Note a look that found nothing for it; one that news brought about does not count."""
        if self.is_due(now):
            self.pause = min(MAX_PAUSE, self.pause * GROWTH)
            self.due = now + self.pause


class LookPace:
    """When the room looks: if a caller is due, or after news; the more callers, the further apart."""

    def __init__(self) -> None:
        self.has_news = False
        """Whether something was written since the last look. Then that is for all callers."""
        self._looked_at = -inf
        self._followed_at = -inf
        """When news was followed last."""
        self._news_apart = 0.0

    def next_look(self, first_due: float, callers: int) -> float:
        """Return the moment of the next look; `first_due` is when the first of so many callers is due."""
        due = min(first_due, self._followed_at + self._news_apart) if self.has_news else first_due
        return max(due, self._looked_at + min(MAX_APART, APART * callers))

    def looked(self, now: float, *, is_found: bool) -> None:
        """Note a look. News that leads to nothing is followed less and less often."""
        if self.has_news:
            is_fresh = is_found or now - self._followed_at > CALM
            self._news_apart = 0.0 if is_fresh else min(MAX_APART, max(APART, 2 * self._news_apart))
            self._followed_at = now
        self._looked_at = now
        self.has_news = False
