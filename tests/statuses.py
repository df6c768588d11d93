"""The statuses of many jobs at once."""

from __future__ import annotations

from collections.abc import Sequence

import posthorse as ph
from posthorse.app.reading import make_status
from posthorse.rules.search.text import parse_filter
from posthorse.store.operations.finding import look, route
from posthorse.store.operations.read import JobRow, jobs_by_id
from posthorse.store.store import Store


def list_statuses(app: ph.Posthorse, *, queue: str | None = None, limit: int = 50) -> Sequence[ph.Status]:
    """Return the statuses of jobs, the newest first."""
    rows = newest_rows(app.store, "" if queue is None else f"queue:{queue}", limit=limit)
    return [make_status(row, app.registry) for row in rows]


def newest_rows(store: Store, text: str = "", *, limit: int = 50) -> list[JobRow]:
    """Return jobs that match a filter, the newest first, as stored."""
    on = store.read(route(parse_filter(text)))
    places = store.read(look(on, after=None, window=10_000, limit=limit)).found
    rows = store.read(jobs_by_id([place.job for place in places]))
    return sorted(rows, key=lambda row: row.id, reverse=True)
