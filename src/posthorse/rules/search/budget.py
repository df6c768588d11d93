"""How far a page searches: windows that grow to 5,000 jobs, until a span of time is over. Pure; the caller has the
clock.
"""

from __future__ import annotations

BUDGET = 0.15
"""Seconds that a page or a count searches."""
MAX_WINDOW = 5_000
MAX_PAGE = 1_000
MAX_COUNT = 10_000
"""Counts are exact up to this."""
_GROWTH = 5
_SHARE = 4
"""A window may take this part of the budget."""


def first_window(limit: int, *, judges: bool) -> int:
    """Return how many jobs are looked at first: those of the page and one to see whether there are more, or a
    multiple if each is judged.
    """
    return min(MAX_WINDOW, limit * _GROWTH) if judges else limit + 1


def next_window(window: int, took: float, within: float) -> int:
    """Return how many jobs are looked at next, given how long the last window took."""
    if took * _SHARE * _GROWTH > within:
        return max(1, window // 2) if took * _SHARE > within else window
    return min(MAX_WINDOW, window * _GROWTH)
