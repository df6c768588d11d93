"""How a queue is shown: what waits in it, which runners serve it, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from posthorse.rules.job import State
from posthorse.rules.labels import as_labels
from posthorse.rules.queues import DEFAULTS, QueueSettings, layer_as_words
from posthorse.store.operations.queues import QueueRow, QueueServer, QueuesRead
from posthorse.views.base import View

QueueState = Literal["open", "paused", "draining", "closed"]


class QueueView(View, frozen=True, kw_only=True):
    """A queue as it was at one moment.

    oldest: how long its first waiting job has waited, in seconds.
    held: how many of its jobs each limit holds back.
    workers: those that serve it; `runners` counts their processes.
    settings: those that apply now, in the words of `posthorse queues set`; `live`: those that were set live.
    """

    queue: str
    state: QueueState
    waiting: int
    oldest: float | None
    running: int
    scheduled: int
    blocked: int
    paused: int
    failed: int
    held: Mapping[str, int]
    workers: tuple[str, ...]
    runners: int
    settings: Mapping[str, Any]
    live: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        row: QueueRow,
        settings: QueueSettings = DEFAULTS,
        *,
        now: int,
        live: Mapping[str, object] = {},
        workers: Sequence[str] = (),
        held: Mapping[str, int] = {},
    ) -> Self:
        """Show a queue; `workers` names the worker of each runner that serves it, `now` is in microseconds."""
        return cls(
            queue=row.queue,
            state=_state(settings, now),
            waiting=row.waiting,
            oldest=None if row.waited is None else row.waited / 1_000_000,
            running=row.running,
            scheduled=row.aside.get(State.SCHEDULED, 0),
            blocked=row.aside.get(State.BLOCKED, 0),
            paused=row.aside.get(State.PAUSED, 0),
            failed=row.aside.get(State.FAILED, 0),
            held=held,
            workers=tuple(sorted(set(workers))),
            runners=len(workers),
            settings=layer_as_words({name: getattr(settings, name) for name in QueueSettings.__struct_fields__}),
            live=layer_as_words(live),
        )


def queue_views(found: QueuesRead, settings: Mapping[str, QueueSettings]) -> list[QueueView]:
    """Show all queues that had a job or have settings, by name; `settings` is what holds for those that have any."""
    rows = {row.queue: row for row in found.rows}
    return [
        QueueView.of(
            rows.get(name) or unused(name),
            holds,
            now=found.now,
            live=found.live.get(name, {}),
            workers=[server.worker for server in found.servers if _serves(server, name, holds)],
            held=found.held.get(name, {}),
        )
        for name in sorted(rows.keys() | settings.keys())
        for holds in (settings.get(name, DEFAULTS),)
    ]


def unused(name: str) -> QueueRow:
    """Make the row of a queue that never had a job."""
    return QueueRow(name, 0, None, 0, {})


def _serves(server: QueueServer, queue: str, settings: QueueSettings) -> bool:
    return (not server.queues or queue in server.queues) and settings.fits(as_labels(list(server.labels)))


def _state(settings: QueueSettings, now: int) -> QueueState:
    if settings.paused:
        return "paused"
    if settings.draining:
        return "draining"
    return "closed" if settings.is_closed(now) else "open"
