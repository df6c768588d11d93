"""Make a report from figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from posthorse.views.figures import FigureRow, Figures
from posthorse.views.report.changes import changes
from posthorse.views.report.content import (
    MAX_STEPS,
    TIME_STEPS,
    Report,
    ReportBy,
    TimeStep,
    Totals,
    by_size,
    deepest,
    slowest,
    waiting_over_time,
    week_of,
    with_empty_ones,
)
from posthorse.views.report.sentences import sentences


def make_report(
    *,
    by: ReportBy,
    kinds: Figures,
    chosen: Figures,
    over_time: Figures,
    step: TimeStep,
    hours: Figures | None,
    before: Sequence[FigureRow],
) -> Report:
    """Make a report from figures of one span by kind, by the chosen group and by time, and rows of the span before."""
    part = max(timedelta(seconds=1), (kinds.until - kinds.since) / MAX_STEPS)
    earlier = Totals.of(before)
    since, until = kinds.since, kinds.until
    rows = chosen.rows if by in ("day", "hour") else by_size(chosen.rows)
    hourly = [] if hours is None else with_empty_ones(hours.rows, since, until, timedelta(hours=1))
    found = Report(
        since=since,
        until=until,
        complete_until=kinds.complete_until,
        by=by,
        sentences=[],
        totals=Totals.of(kinds.rows),
        before=None if earlier.is_empty else earlier,
        rows=[] if by == "error" else rows,
        slowest=slowest(kinds.rows),
        errors=over_time.errors,
        changes=[] if earlier.is_empty else changes(kinds.rows, before),
        releases=kinds.releases,
        over_time_by=step,
        over_time=with_empty_ones(over_time.rows, since, until, TIME_STEPS[step]),
        week=week_of(hourly, since, until) if until - since >= timedelta(days=2) else [],
        waiting=waiting_over_time(kinds.depths, since, part),
        depths=deepest(kinds.depths, since, part),
    )
    return msgspec.structs.replace(found, sentences=sentences(found, kinds.rows))
