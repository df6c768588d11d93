"""How a page of a list is shown: its jobs, the cursor of the next one, and how far was searched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from posthorse.views.base import View
from posthorse.views.job import JobView


class SearchedView(View, frozen=True, kw_only=True):
    """How far back was searched; if that is complete, no other job matches."""

    back_to: datetime | None
    complete: bool


class PageView(View, frozen=True, kw_only=True):
    """A page of jobs; `next` is null if there are no more."""

    jobs: Sequence[JobView]
    next: str | None
    searched: SearchedView
