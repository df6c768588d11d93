"""Read what a report needs: figures of its span by kind, by time and by the chosen group, and of the span before."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from posthorse.views.figures import Figures
from posthorse.views.report.content import Report, ReportBy, has_hours, step_of
from posthorse.views.report.make import make_report

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def report_of(app: Posthorse, *, since: datetime, until: datetime, by: ReportBy, now: datetime) -> Report:
    """Return a report on the time between two moments. Raises StoreError."""
    step = step_of(since, until, now)
    kinds = app.figures(since=since, until=until, by="kind")
    over_time = app.figures(since=since, until=until, by=step)
    hours = over_time if step == "hour" else None
    if step == "day" and has_hours(since, now):
        hours = app.figures(since=since, until=until, by="hour")
    match by:
        case "kind" | "error":
            chosen = kinds
        case _ if by == step:
            chosen = over_time
        case _:
            chosen = app.figures(since=since, until=until, by=by)
    before = app.figures(since=since - (until - since), until=since, by="kind")
    return make_report(by=by, kinds=kinds, chosen=chosen, over_time=over_time, step=step, hours=hours, before=before)


def empty_report(since: datetime, until: datetime, by: ReportBy) -> Report:
    """Return the report on a store that does not exist yet."""
    nothing = Figures(
        since=since, until=until, by="kind", rows=[], depths=[], errors=[], releases=[], complete_until=since
    )
    return make_report(by=by, kinds=nothing, chosen=nothing, over_time=nothing, step="hour", hours=None, before=nothing)
