"""Describe jobs for users: states with their marks, moments, durations, progress in a few words.

Pure: everything depends on a status and the present moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from posthorse.cli.screen import clean
from posthorse.rules.durations import lasted
from posthorse.rules.job import State, Status
from posthorse.rules.progress import Progress
from posthorse.rules.throttle import THROTTLED
from posthorse.rules.window import CLOSED

MARKS: dict[State, tuple[str, str]] = {
    State.SCHEDULED: ("◷", "blue"),
    State.BLOCKED: ("◌", "yellow"),
    State.PENDING: ("○", "default"),
    State.PROCESSING: ("●", "cyan"),
    State.PAUSED: ("‖", "yellow"),
    State.COMPLETED: ("✓", "green"),
    State.FAILED: ("✗", "red"),
    State.CANCELLED: ("⊘", "bright_black"),
}
"""The mark and the colour of a state; the word is always beside them."""

LEFT = (CLOSED, THROTTLED)
"""How reasons begin for which a running job leaves its worker by itself."""


def span(duration: timedelta) -> str:
    """Return a duration in the two largest units: "2d3h", "45s", "250ms"; never negative."""
    return lasted(duration.total_seconds())


def short_span(duration: timedelta) -> str:
    """Return a duration in its largest unit alone: "2d", "45s"; below a second "now"."""
    seconds = int(max(timedelta(0), duration).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return "now"


def clock_time(moment: datetime, now: datetime) -> str:
    """Return a moment in the local time of the reader, with its date if that is not today."""
    local, today = moment.astimezone(), now.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def percent(progress: Progress) -> str:
    """Return "42%", rounded down so that 100 % means all; empty while the total is unknown."""
    return "" if progress.fraction is None else f"{int(progress.fraction * 100)}%"


def amount(progress: Progress) -> str:
    """Return "420,000 of 1,000,000", or "420,000 done" while the total is unknown."""
    if progress.total is None:
        return f"{progress.done:,} done"
    return f"{progress.done:,} of {progress.total:,}"


def speed(progress: Progress) -> str:
    """Return "1,250/s"; empty before the first slice."""
    if progress.rate is None:
        return ""
    return f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.2g}/s"


def left(progress: Progress, *, with_range: bool = False) -> str:
    """Return "7m44s left (6m58s to 8m40s)"; empty without a forecast, and if nothing is left."""
    if not progress.remaining:
        return ""
    text = f"{_forecast(progress.remaining)} left"
    if not with_range or progress.eta is None or progress.eta_range is None:
        return text
    earliest, latest = (_forecast(at - progress.eta + progress.remaining) for at in progress.eta_range)
    return text if earliest == latest else f"{text} ({earliest} to {latest})"


def _forecast(duration: timedelta) -> str:
    return "<1s" if duration < timedelta(seconds=1) else span(duration)


def gist(status: Status, now: datetime) -> str:
    """Return the most important few words about a job for a narrow column."""
    progress = status.progress
    match status.state:
        case State.SCHEDULED if status.run_at is not None:
            soon = f"in {span(status.run_at - now)}"
            why = why_it_left(status) or (clean(status.error.type) if status.error else "")
            return f"{soon}, {why}" if why else soon
        case State.PENDING if why_it_left(status):
            return why_it_left(status)
        case State.FAILED if status.error is not None:
            return clean(str(status.error))
        case State.FAILED | State.CANCELLED | State.BLOCKED:
            return clean(status.reason or "")
        case State.COMPLETED:
            took = f"in {duration_of(status, now)}"
            return f"{progress.done:,} {took}" if progress.done else took
        case _ if progress.done or progress.total:
            return ", ".join(part for part in (percent(progress) or amount(progress), left(progress)) if part)
        case _ if status.requested is not None:
            return f"{status.requested} requested"
        case _:
            return ""


def why_it_left(status: Status) -> str:
    """Return why a job that had begun waits: its queue closed, or it is throttled; empty for all others."""
    is_set_aside = status.state in (State.PENDING, State.SCHEDULED) and (status.reason or "").startswith(LEFT)
    return clean(status.reason or "") if is_set_aside else ""


def duration_of(status: Status, now: datetime) -> str:
    """Return how long a job took, or has taken, from its first start; empty if it never started."""
    return "" if status.started_at is None else span((status.finished_at or now) - status.started_at)
