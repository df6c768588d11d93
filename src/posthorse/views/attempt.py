"""How an attempt is shown: one run of a job's code, with the evidence of its error."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from posthorse.rules.job import Attempt, JobError
from posthorse.views.base import View


class AttemptView(View, frozen=True, kw_only=True):
    """One run of a job's code; what was not recorded is null."""

    number: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: JobError | None

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Show an attempt."""
        return cls(
            number=attempt.number,
            outcome=attempt.outcome,
            started_at=attempt.started_at,
            finished_at=attempt.finished_at,
            worker=attempt.worker,
            error=attempt.error,
        )
