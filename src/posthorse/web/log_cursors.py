"""Where a page of log lines ended, as a text that clients send back."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from posthorse.rules.job_logs import LogLine
from posthorse.web.problems import invalid_parameter

_CURSOR = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


def cursor_of(line: LogLine) -> str:
    """Return the cursor of the page behind a line."""
    return f"{line.run}-{line.number}"


def line_at(cursor: str) -> LogLine:
    """Return the place of a line; what the line says is not known. Raises Problem."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise invalid_parameter("after", "it is not the `next` of a page")
    return LogLine(
        attempt=1, run=int(found[1]), number=int(found[2]), at=datetime.now(UTC), level="", logger="", message=""
    )
