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


def next_window(window: int, took: float, within: float, left: float) -> int:
    """Return how many jobs are looked at next: so many that it takes a part of the budget, and no more than is left of
    it, if each job takes as long as in the last window.

    So a window takes longer than the whole budget only where jobs are suddenly four times as slow to read.
    """
    allowed = max(0.0, min(within / _SHARE, left))
    fitting = MAX_WINDOW if took <= 0 else int(min(MAX_WINDOW, window * allowed / took))
    return max(1, min(fitting, window * _GROWTH))
