"""The names of what happens to a job: one vocabulary for its stored events, its timeline and streams of events.

Each name is a promise: programs compare it, and stores keep it. Listeners (`app.listen(…)`) hear in typed events what
one process does; these names say what became of a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

EventName = Literal[
    "submitted",
    "superseded",
    "queued",
    "claimed",
    "started",
    "completed",
    "attempt_failed",
    "failed",
    "snoozed",
    "waiting",
    "split",
    "released",
    "lost",
    "crashed",
    "unfit",
    "expired",
    "paused",
    "resumed",
    "cancelled",
    "retried",
    "discarded",
]

EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)

MEANINGS: Mapping[EventName, str] = {
    "submitted": "it was enqueued",
    "superseded": "a newer equal job was enqueued, and this one has its arguments now",
    "queued": "it lined up: its time came, or a worker gave it back that had not started it",
    "claimed": "a worker took it; its code did not start",
    "started": "an attempt began",
    "completed": "its code returned, and its result is stored",
    "attempt_failed": "its code raised; another attempt follows",
    "failed": "it failed for good, and is a dead letter",
    "snoozed": "its code or a throttle put it off",
    "waiting": "its code waits for an event, without a worker",
    "split": "its loop was cut into parts, which are jobs of their own; it waits for them",
    "released": "its worker stopped, its time box was over or its queue closed; it goes on later and spends no attempt",
    "lost": "its worker was lost; it goes on elsewhere",
    "crashed": "its process died; it goes on in another one",
    "unfit": "its arguments do not fit the code of the worker that took it; it is tried again",
    "expired": "it was not started in time, and is cancelled",
    "paused": "it was paused",
    "resumed": "it was resumed",
    "cancelled": "it was cancelled",
    "retried": "a user started it again",
    "discarded": "a user discarded the dead letter",
}
"""What each name says of the job."""

ENDS_OF_ATTEMPTS: frozenset[EventName] = frozenset(
    {
        "completed",
        "attempt_failed",
        "failed",
        "snoozed",
        "waiting",
        "split",
        "released",
        "lost",
        "crashed",
        "unfit",
        "expired",
        "paused",
        "cancelled",
    }
)
"""How an attempt may end. A job may also be paused or cancelled while no worker holds it."""

ENDS_OF_JOBS: frozenset[EventName] = frozenset({"completed", "failed", "expired", "cancelled", "discarded"})
"""After which a job is over, until a user retries it."""
