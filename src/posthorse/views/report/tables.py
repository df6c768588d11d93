"""The tables of a report as cells of text, for the terminal and the page alike, and as values for CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from posthorse.views.figures import ErrorGroup, FigureRow, Spread
from posthorse.views.quantities import minute, seconds_as_text, share
from posthorse.views.report.content import Report, ReportBy, Totals, busy_seconds, ended

NO_NAME = "(none)"
"""What is shown for jobs without a tenant."""

SPREAD = ("p50", "p90", "p99", "mean", "longest")


class Figure(NamedTuple):
    """A column. rank: where there is little room, those of the highest rank are left out first."""

    heading: str
    explanation: str
    rank: int


FIGURES = (
    Figure("ended", "jobs that are over", 0),
    Figure("failed", "jobs that failed for good", 1),
    Figure("failing", "those as a share of the jobs that ended", 5),
    Figure("retried", "attempts that failed and were repeated", 4),
    Figure("lost", "attempts that ended with their process", 8),
    Figure("cancelled", "jobs that were cancelled", 9),
    Figure("wait p50", "half waited at most so long for their start", 7),
    Figure("wait p99", "99 of 100 waited at most so long", 3),
    Figure("run p50", "half of the attempts ran at most so long", 6),
    Figure("run p99", "99 of 100 attempts ran at most so long", 2),
    Figure("time", "share of all the time that attempts ran", 4),
)
"""The columns behind the name."""


def cells(row: FigureRow, totals: Totals) -> list[str]:
    """Return the cells of a row behind its name, one for each of `FIGURES`."""
    waited, ran = row.waited, row.ran
    return [
        f"{ended(row):,}",
        f"{row.failed:,}",
        share(row.failed, ended(row)),
        f"{row.retried:,}",
        f"{row.lost:,}",
        f"{row.cancelled:,}",
        seconds_as_text(None if waited is None else waited.p50),
        seconds_as_text(None if waited is None else waited.p99),
        seconds_as_text(None if ran is None else ran.p50),
        seconds_as_text(None if ran is None else ran.p99),
        share(busy_seconds(row), totals.busy),
    ]


def row_name(row: FigureRow) -> str:
    """Return what a row is called: a name, or the time at which it begins."""
    if row.began_at is None:
        return row.key or NO_NAME
    return minute(row.began_at)


def error_text(error: ErrorGroup) -> str:
    """Return an error in one line: its type and the message that its group shares."""
    return f"{error.type}: {error.message}" if error.message else error.type


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────


def csv_rows(report: Report) -> Iterator[Sequence[str]]:
    """Return the heading and the rows of the chosen group. Times are in seconds, moments in UTC, and nothing is empty
    text.
    """
    if report.by == "error":
        yield "fingerprint", "kind", "type", "message", "count", "within", "first_at", "last_at", "release", "is_new"
        for error in report.errors:
            yield _csv_error(error, is_new=report.is_new(error))
        return
    yield (
        *csv_names(report.by),
        *("started", "completed", "failed", "retried", "lost", "cancelled"),
        *(f"{what}_{name}" for what in ("waited", "ran") for name in SPREAD),
    )
    for row in report.rows:
        counted = (row.started, row.completed, row.failed, row.retried, row.lost, row.cancelled)
        named = harmless(row.key) if row.began_at is None else _rfc(row.began_at)
        yield named, *map(str, counted), *_csv_spread(row.waited), *_csv_spread(row.ran)


def csv_names(by: ReportBy) -> tuple[str, ...]:
    """Return the heading of the first column."""
    return ("began_at",) if by in ("day", "hour") else (by,)


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: it gets an apostrophe in front."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _csv_error(error: ErrorGroup, *, is_new: bool) -> Sequence[str]:
    texts = (error.fingerprint, error.kind, error.type, error.message)
    return (
        *map(harmless, texts),
        str(error.count),
        str(error.within),
        _rfc(error.first_at),
        _rfc(error.last_at),
        harmless(error.release or ""),
        "true" if is_new else "false",
    )


def _csv_spread(spread: Spread | None) -> list[str]:
    return [""] * len(SPREAD) if spread is None else [str(getattr(spread, name)) for name in SPREAD]


def _rfc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
