"""Recording: an event is stored under the version of the job that the same transaction made, as a part of operations.

Of a series without an end (`rules/repeated_events`), the last event replaces the one before it.
"""

from __future__ import annotations

from posthorse.rules.event_names import EventName
from posthorse.rules.repeated_events import EventStep, is_endless, next_event
from posthorse.store.base import QuerySteps, TypedQuery, query

LAST_EVENT = TypedQuery("last_event", EventStep)


def record(job: str, version: int, name: EventName, detail: str | None = None) -> QuerySteps[None]:
    """Store an event; `detail` is JSON."""
    if not is_endless(name, detail):
        yield query("record", job=job, version=version, name=name, detail=detail)
        return
    counted, instead_of = next_event(name, detail, (yield from last_step(job)))
    if instead_of is None:
        yield query("record", job=job, version=version, name=name, detail=counted)
    else:
        yield query("record_again", job=job, version=version, instead_of=instead_of, detail=counted)


def last_step(job: str) -> QuerySteps[EventStep | None]:
    """Return the last stored event of a job."""
    rows = yield from LAST_EVENT(job=job)
    return rows[0] if rows else None
