"""Words that several reasons share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from posthorse.rules.job import Status
from posthorse.rules.why.facts import MAX_COUNTED, MAX_NAMED, ServingRunner


def micros(at: datetime) -> int:
    """Return a moment as stored."""
    return round(at.timestamp() * 1_000_000)


def at_moment(at: datetime) -> str:
    """Return a moment for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def capped_count(count: int) -> str:
    """Return a number that was counted up to a limit."""
    return f"at least {MAX_COUNTED:,}" if count >= MAX_COUNTED else f"{count:,}"


def one_line(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


def progress_of(job: Status) -> str:
    """Return how far a job is, as the rest of a clause."""
    fraction, done = job.progress.fraction, job.progress.done
    if fraction is not None:
        return f", {int(fraction * 100)}% done"
    return f", {done:,} items done" if done else ""


def workers_of(servers: Iterable[ServingRunner]) -> list[str]:
    """Return the first few names of workers, each once."""
    return sorted({server.worker for server in servers})[:MAX_NAMED]


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
