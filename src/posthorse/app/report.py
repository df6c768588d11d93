"""Read what a report needs, in one pass: figures by kind, by time and by the chosen group; and those of before."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from posthorse.app.figure_sums import Sums
from posthorse.app.figures import add_up, make_figures
from posthorse.app.verbs import Verb, drive, look_over, look_up
from posthorse.clock import micros_of
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.tallies import beside_tallies
from posthorse.views.figures import By, Figures
from posthorse.views.report.content import Report, ReportBy, has_hours, step_of
from posthorse.views.report.make import make_report

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def report_of(app: Posthorse, *, since: datetime, until: datetime, by: ReportBy, now: datetime) -> Report:
    """Return a report on the time between two moments. Raises StoreError."""
    return drive(_report(app, since, until, by, now))


def _report(app: Posthorse, since: datetime, until: datetime, by: ReportBy, now: datetime) -> Verb[Report]:
    step = step_of(since, until, now)
    shows_hours = step == "hour" or (step == "day" and has_hours(since, now))
    chosen: By = "kind"
    if by != "error":
        chosen = by
    needed: set[By] = {"kind", step, chosen}
    if shows_hours:
        needed.add("hour")
    begin, end = micros_of(since), micros_of(until)
    sums = {each: Sums(begin, end, each) for each in needed}
    before = Sums(max(0, begin - (end - begin)), begin, "kind")
    store_time = yield from look_up(app, store_now())
    yield from add_up(app, [*sums.values(), before])
    beside = yield from look_over(app, beside_tallies(begin, end))
    figures = {each: make_figures(app, one, beside, store_time) for each, one in sums.items()}
    return make_report(
        by=by,
        kinds=figures["kind"],
        chosen=figures[chosen],
        over_time=figures[step],
        step=step,
        hours=figures["hour"] if shows_hours else None,
        before=before.rows(store_time),
    )


def empty_report(since: datetime, until: datetime, by: ReportBy) -> Report:
    """Return the report on a store that does not exist yet."""
    nothing = Figures(
        since=since, until=until, by="kind", rows=[], depths=[], errors=[], releases=[], complete_until=since
    )
    return make_report(by=by, kinds=nothing, chosen=nothing, over_time=nothing, step="hour", hours=None, before=[])
