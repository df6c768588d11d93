"""How a schedule is shown: its times, its state and its last job."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from posthorse.rules.schedules import ScheduleState, ScheduleStatus
from posthorse.views.base import View


class ScheduleView(View, frozen=True, kw_only=True):
    """A schedule as it was at one moment; times have the offset of its zone."""

    name: str
    state: ScheduleState
    when: str
    kind: str
    queue: str
    next_at: datetime | None
    last_at: datetime | None
    last_job: str | None
    skipped: int

    @classmethod
    def of(cls, status: ScheduleStatus) -> Self:
        """Show a status."""
        return cls(
            name=status.name,
            state=status.state,
            when=status.when,
            kind=status.kind,
            queue=status.queue,
            next_at=status.next_at,
            last_at=status.last_at,
            last_job=status.last_job,
            skipped=status.skipped,
        )
