"""The statuses of many jobs at once."""

from __future__ import annotations

from collections.abc import Sequence

import posthorse as ph
from posthorse.app.reading import make_status
from posthorse.store.operations import read


def list_statuses(app: ph.Posthorse, *, queue: str | None = None, limit: int = 50) -> Sequence[ph.Status]:
    """Jobs, the newest first."""
    rows = app.store.read(read.jobs(state=None, queue=queue, kind=None, before=None, limit=limit))
    return [make_status(row, app.registry) for row in rows]
