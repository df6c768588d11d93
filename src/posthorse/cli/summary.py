"""Many jobs at a glance: how many are in which state, and when the last of them will be over.

Pure: the caller passes in looks at the jobs, and the seconds between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from posthorse.cli.job_lookup import JobLook
from posthorse.rules.job import State
from posthorse.rules.progress import Pace, Progress, progress_at

ORDER = (
    State.PROCESSING,
    State.PENDING,
    State.SCHEDULED,
    State.BLOCKED,
    State.PAUSED,
    State.COMPLETED,
    State.CANCELLED,
    State.FAILED,
)

SHARES = 1_000
"""Parts of one job: a crowd of jobs is treated as one long job, and each of them as so many items of it."""

MIN_SPAN = 1.0
"""Minimum seconds over which the pace of a crowd is measured."""


class RunTally:
    """The state of a crowd of jobs, and its pace."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._done: int | None = None
        self._seconds = 0.0

    def observe(self, looks: Sequence[JobLook], seconds: float) -> None:
        """Record the jobs so many seconds after the last time."""
        done = _shares_done(looks)
        if self._done is None:
            self._done = done
            return
        self._seconds += seconds
        if self._seconds >= MIN_SPAN:
            self._pace = self._pace.observe(max(0, done - self._done), self._seconds)
            self._done, self._seconds = done, 0.0

    def forecast(self, looks: Sequence[JobLook]) -> Progress:
        """Return the progress of all jobs together: of the last one to end if none waits, else from the pace of the
        crowd.
        """
        going = [look.status for look in looks if not look.status.state.is_final]
        ends = [(progress.eta, *progress.eta_range) for status in going if (progress := status.progress).eta_range]
        if going and len(ends) == len(going):
            now = looks[0].now
            known = [(middle, early, late) for middle, early, late in ends if middle is not None]
            return _ends_at(now, *(max(moments) for moments in zip(*known, strict=True)))
        if not looks:
            return Progress()
        return progress_at(_shares_done(looks), SHARES * len(looks), self._pace, looks[0].now)


def counts(looks: Sequence[JobLook]) -> Mapping[State, int]:
    """Return how many jobs are in which state, in the order of display."""
    counted = Counter(look.status.state for look in looks)
    return {state: counted[state] for state in ORDER if counted[state]}


def _shares_done(looks: Sequence[JobLook]) -> int:
    return sum(
        SHARES if look.status.state.is_final else int(SHARES * (look.status.progress.fraction or 0)) for look in looks
    )


def _ends_at(now: datetime, middle: datetime, early: datetime, late: datetime) -> Progress:
    return Progress(remaining=max(timedelta(0), middle - now), eta=middle, eta_range=(early, late))
