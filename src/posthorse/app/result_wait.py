"""The wait of one caller for the result of a job: how long it is, and when it asks for a worker."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from posthorse.clock import monotonic
from posthorse.rules.durations import Duration, as_timedelta

if TYPE_CHECKING:
    from posthorse.app.unserved_warnings import UnservedWarnings


class ResultWait:
    """For how long one caller waits for a result, and when it begins to worry."""

    def __init__(self, job_id: str, timeout: Duration | None, worry_time: float) -> None:
        self._job_id = job_id
        self._seconds = None if timeout is None else as_timedelta(timeout, name="timeout").total_seconds()
        self._start = monotonic()
        self._worry_time = worry_time
        self._worries_at = self._start + worry_time

    @property
    def left(self) -> float | None:
        """The seconds until the timeout; None without one."""
        return None if self._seconds is None else max(0.0, self._start + self._seconds - monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the timeout is reached."""
        return self.left == 0

    @property
    def words(self) -> str:
        """What the timeout says."""
        return f"job {self._job_id} was not over within {self._seconds:g} s; it goes on"

    def is_worried(self, warnings: UnservedWarnings) -> bool:
        """Return True once, after a few seconds, when it is the turn of this caller."""
        if monotonic() < self._worries_at:
            return False
        has_turn = warnings.has_turn(self._worry_time)
        self._worries_at = inf if has_turn else monotonic() + self._worry_time
        return has_turn

    @property
    def seconds(self) -> float:
        """The seconds until the caller is worried, or the timeout is reached."""
        left = self.left
        return min(max(0.0, self._worries_at - monotonic()), inf if left is None else left)
