"""The attempts of a job, read from its timeline. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posthorse.rules.event_names import EventName
from posthorse.rules.events import Event
from posthorse.rules.job import Attempt

_OUTCOMES: Mapping[EventName, str] = {
    "completed": "completed",
    "attempt_failed": "failed",
    "failed": "failed",
    "lost": "lost",
    "crashed": "crashed",
    "snoozed": "snoozed",
    "waiting": "waiting",
    "split": "split",
    "released": "released",
    "paused": "paused",
    "cancelled": "cancelled",
}
_LAST_STRAWS = {"NoProgress": "lost", "Crashed": "crashed"}
"""Error types of dead letters whose own code did not fail."""


def attempts_in(events: Iterable[Event]) -> list[Attempt]:
    """Return every attempt that started, in order; the last one may be running."""
    found: list[Attempt] = []
    start: Event | None = None
    for event in events:
        if start is not None and event.attempt is not None and event.name in _OUTCOMES:
            outcome = _OUTCOMES[event.name]
            if event.error is not None:
                outcome = _LAST_STRAWS.get(event.error.type, outcome)
            found.append(_attempt(start, outcome, event))
        start = event if event.name == "started" else None
    if start is not None:
        found.append(_attempt(start, "running", None))
    return found


def _attempt(start: Event, outcome: str, end: Event | None) -> Attempt:
    return Attempt(
        number=start.attempt or 1,
        outcome=outcome,
        started_at=start.at,
        finished_at=None if end is None else end.at,
        worker=start.worker if end is None else end.worker,
        error=None if end is None else end.error,
    )
