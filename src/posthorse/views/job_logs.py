"""How a line is shown that a job logged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from posthorse.rules.job_logs import LogLine
from posthorse.views.base import View


class LogLineView(View, frozen=True, kw_only=True):
    """One line that a job logged; `left_out` is how many lines before it were not kept."""

    attempt: int
    run: int
    number: int
    at: datetime
    level: str
    logger: str
    message: str
    fields: Mapping[str, object]
    error: str | None
    left_out: int

    @classmethod
    def of(cls, line: LogLine) -> Self:
        """Show a line."""
        return cls(
            attempt=line.attempt,
            run=line.run,
            number=line.number,
            at=line.at,
            level=line.level,
            logger=line.logger,
            message=line.message,
            fields=line.fields,
            error=line.error,
            left_out=line.left_out,
        )
