"""Report one job in few lines on stderr, for logs and mails: how it ended, and now and then its progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from posthorse.cli.job_display import sentence
from posthorse.cli.job_lookup import JobLook
from posthorse.cli.screen import say

LOOK_INTERVAL = 0.25
TENTHS_INTERVAL, WORD_INTERVAL = 5.0, 60.0
"""Minimum seconds between two tenths of the progress, and maximum between two lines of a running job."""


class Milestones:
    """Prints a line for each change; none at all if it is silent."""

    pause = LOOK_INTERVAL

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent
        self._told: tuple[object, ...] = ()
        self._tenth = 0
        self._told_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, looks: Sequence[JobLook]) -> None:
        """Report the jobs, if there is something to report."""
        for look in looks:
            status = look.status
            state = (status.id, status.state, status.attempt, status.requested)
            tenth = int((status.progress.fraction or 0) * 10)
            silent_for = time.monotonic() - self._told_at
            is_far = tenth != self._tenth and silent_for >= TENTHS_INTERVAL
            if not self._is_silent and (state != self._told or is_far or silent_for >= WORD_INTERVAL):
                self._told, self._tenth, self._told_at = state, tenth, time.monotonic()
                say(sentence(look))

    def tell(self, words: str) -> None:
        """Print a line that contains no secret."""
        if not self._is_silent:
            say(words)
