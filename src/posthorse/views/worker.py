"""How a runner is shown: what it serves, how busy it is, and whether it sends heartbeats."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, Self

from posthorse.clock import moment
from posthorse.store.operations.read import WorkerRow
from posthorse.views.base import View

WorkerState = Literal["silent", "draining", "working", "idle"]


class WorkerView(View, frozen=True, kw_only=True):
    """A runner of a worker; no queues means all that its labels fit. `silent_for` is in seconds."""

    id: str
    worker: str
    host: str
    pid: int
    version: str
    state: WorkerState
    started_at: datetime
    beat_at: datetime
    silent_for: float
    running: int
    concurrency: int
    queues: tuple[str, ...]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, row: WorkerRow, lease: timedelta) -> Self:
        """Show a runner; it is silent if its last heartbeat is older than the lease."""
        return cls(
            id=row.id,
            worker=row.worker,
            host=row.host,
            pid=row.pid,
            version=row.version,
            state=_state(row, lease),
            started_at=moment(row.started_at),
            beat_at=moment(row.beat_at),
            silent_for=row.silent_for / 1_000_000,
            running=row.running,
            concurrency=row.concurrency,
            queues=tuple(row.queues),
            kinds=tuple(row.kinds),
        )


def _state(row: WorkerRow, lease: timedelta) -> WorkerState:
    if timedelta(microseconds=row.silent_for) > lease:
        return "silent"
    if row.is_draining:
        return "draining"
    return "working" if row.running else "idle"
