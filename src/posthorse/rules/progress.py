"""Progress: how far a job is, how fast it is, and when it will be done.

It is computed from a checkpoint and one `now`; this module knows no store and reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from posthorse.rules.durations import MAX_DURATION, as_text
from posthorse.rules.forecast import forecast
from posthorse.rules.pace import Pace

__all__ = ["Pace", "Progress", "progress_at"]

SLICES_FOR_A_FORECAST = 3
AFTER_THE_LAST_SLICE = 0.25  # of a slice: looking for more items and committing the completion take time too


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. There is no finish time without a total, or before the third committed slice.

    rate: items per second of work, over the last ten slices or ten seconds, whichever is longer.
    remaining: how long the rest will take, as working time; a paused job has it too.
    eta: when a running job will be done, on the store's clock; if everything is done, when that was.
    eta_range: the earliest and the latest likely eta. Nine of ten recorded jobs end between them, unless what is ahead
    costs many times what is done.
    """

    done: int = 0
    total: int | None = None
    rate: float | None = None
    remaining: timedelta | None = None
    eta: datetime | None = None
    eta_range: tuple[datetime, datetime] | None = None
    note: str | None = None

    @property
    def fraction(self) -> float | None:
        """From 0.0 to 1.0; None while the total is unknown."""
        if self.total is None:
            return None
        return 1.0 if self.done >= self.total else self.done / self.total

    def __str__(self) -> str:
        return _sentence(self)


def progress_at(
    done: int,
    total: int | None,
    pace: Pace,
    now: datetime,
    *,
    note: str | None = None,
    since: datetime | None = None,
    running: bool = True,
) -> Progress:
    """Return the progress of a job from its last checkpoint.

    since: when the slice that runs now began, on the clock of `now`: at the last checkpoint, or at the start of the
    attempt if that is later.
    running: whether a worker runs the job now; a job that does not run has no finish time.
    """
    done = max(0, done)
    total = None if total is None else max(0, total)
    if total is not None and done >= total:
        finished = now if running or since is None else since
        return Progress(done, total, pace.rate, timedelta(0), finished, (finished, finished), note)

    counted = Progress(done, total, pace.rate, note=note)
    if total is None or pace.slices < SLICES_FOR_A_FORECAST:
        return counted
    rest = forecast(pace, total - done)
    if rest is None or rest.median > MAX_DURATION.total_seconds():
        return counted  # beyond a century there is no forecast
    if not running:
        return Progress(done, total, pace.rate, timedelta(seconds=rest.median), note=note)

    elapsed = 0.0 if since is None else max(0.0, (now - since).total_seconds())
    usual = pace.slice_seconds
    overdue = max(0.0, elapsed - usual)
    spent = elapsed if not overdue else usual * usual / elapsed
    low = max(0.0, rest.low - spent)
    median = max(low, rest.median - spent)  # moves on if the running slice takes longer than usual
    high = max(median, rest.high - spent) + overdue + AFTER_THE_LAST_SLICE * usual
    eta_range = (_later(now, low), _later(now, high))
    return Progress(done, total, pace.rate, timedelta(seconds=median), _later(now, median), eta_range, note)


def _later(now: datetime, seconds: float) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


def _sentence(progress: Progress) -> str:
    """Describe for users: "420,000 of 1,000,000 (42%), 1,250/s, 7m44s left (6m58s to 8m40s): sending letters"."""
    if progress.total is None or progress.fraction is None:
        parts = [f"{progress.done:,} done"]
    else:
        percent = int(progress.fraction * 100)  # rounded down: 100 % means all
        parts = [f"{progress.done:,} of {progress.total:,} ({percent}%)"]
    if progress.remaining != timedelta(0):
        if progress.rate is not None:
            parts.append(f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.2g}/s")
        if progress.remaining is not None:
            left = f"{as_text(progress.remaining)} left"
            if progress.eta is not None and progress.eta_range is not None:
                earliest, latest = (as_text(at - progress.eta + progress.remaining) for at in progress.eta_range)
                left += "" if earliest == latest else f" ({earliest} to {latest})"
            parts.append(left)
    sentence = ", ".join(parts)
    return sentence if progress.note is None else f"{sentence}: {progress.note}"
