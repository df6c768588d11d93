"""How jobs are shown that were just submitted, or only checked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.views.base import View


class CheckedView(View, frozen=True, kw_only=True):
    """A job that was checked and not stored; `arguments` are as they would be stored."""

    kind: str
    queue: str
    priority: int
    arguments: msgspec.Raw


class SentView(View, frozen=True, kw_only=True):
    """Whether an event was sent; it was not if an earlier one of this name counts."""

    sent: bool


class StoredView(View, frozen=True, kw_only=True):
    """A job that was submitted or steered, of which no more can be read now: its id."""

    id: str


class SubmittedView(View, frozen=True, kw_only=True):
    """A job of many that were submitted at once: its id, and whether it is new; or what is wrong with it."""

    id: str | None
    created: bool
    error: str | None = None
    pointer: str | None = None


class BulkView(View, frozen=True, kw_only=True):
    """What came of many jobs, in their order."""

    jobs: Sequence[SubmittedView]
