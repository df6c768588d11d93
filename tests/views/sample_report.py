"""A report on a week of a small shop: a release that made mails fail, quiet nights and a quiet weekend."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from posthorse.views.figures import By, DepthPoint, ErrorCount, ErrorGroup, FigureRow, Figures, ReleaseMark, Spread
from posthorse.views.report.content import TIME_STEPS, Report, ReportBy, TimeStep
from posthorse.views.report.make import make_report

UNTIL = datetime(2026, 12, 1, 13, 37, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
BROKEN = (datetime(2026, 11, 27, 13, 40, tzinfo=UTC), datetime(2026, 11, 27, 17, 0, tzinfo=UTC))
EVIL = "\x1b[31m<script>alert(1)</script>&\"'\u202e\x00\n=1+1"
HOUR = timedelta(hours=1)


def spread(p50: float) -> Spread:
    return Spread(p50=p50, p90=2 * p50, p99=8 * p50, mean=1.4 * p50, longest=30 * p50)


def row(
    key: str,
    jobs: int,
    *,
    failed: int = 0,
    ran: float = 0.3,
    waited: float = 0.1,
    began_at: datetime | None = None,
    lost: int = 0,
    cancelled: int = 0,
) -> FigureRow:
    """Return a row of so many jobs that ended; each that failed was retried four times."""
    return FigureRow(
        key=key,
        began_at=began_at,
        started=jobs + 4 * failed + lost,
        completed=jobs - failed - cancelled,
        failed=failed,
        retried=4 * failed,
        lost=lost,
        cancelled=cancelled,
        rate=jobs / 3600,
        waited=spread(waited) if jobs else None,
        ran=spread(ran) if jobs else None,
    )


def kinds() -> list[FigureRow]:
    return [
        row("import_orders", 2_410, failed=12, ran=14),
        row("resize", 610_220, failed=181, ran=1.2, cancelled=300),
        row("send_invoice", 412_331, failed=2_731, ran=0.31, lost=2),
        row("weekly_report", 7, ran=312),
        row("welcome", 151_004, ran=0.04),
    ]


def kinds_before() -> list[FigureRow]:
    return [
        row("import_orders", 2_400, failed=12, ran=14),
        row("old_sync", 90),
        row("resize", 560_220, failed=175, ran=0.5),
        row("send_invoice", 380_000, failed=380, ran=0.31),
        row("weekly_report", 7, ran=312),
    ]


def errors(step: timedelta, evil: str) -> list[ErrorGroup]:
    return [
        ErrorGroup(
            fingerprint="f1",
            kind="send_invoice",
            type="SMTPServerDisconnected",
            message="The connection was closed after … s",
            count=4210,
            within=4210,
            over_time=errors_by(step, BROKEN[0], BROKEN[1], 4210),
            first_at=BROKEN[0],
            last_at=BROKEN[1],
            release="8f21c07",
            sample="01936f5e-7c1a-7d2b-8e3f-0123456789ab",
        ),
        ErrorGroup(
            fingerprint="f2",
            kind="import_orders",
            type="KeyError",
            message=f"'address'{evil}",
            count=183,
            within=31,
            over_time=errors_by(step, UNTIL - timedelta(days=2), UNTIL, 31),
            first_at=UNTIL - timedelta(days=400),
            last_at=UNTIL - HOUR,
            release=None,
            sample="01936f5e-7c1a-7d2b-8e3f-0123456789ac",
        ),
    ]


def errors_by(step: timedelta, begin: datetime, end: datetime, count: int) -> list[ErrorCount]:
    """Spread errors over the steps between two moments."""
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    times = [midnight + number * step for number in range((begin - midnight) // step, (end - midnight) // step + 1)]
    parts = [(count * (place + 1)) // len(times) - count * place // len(times) for place in range(len(times))]
    return [ErrorCount(began_at=at, count=part) for at, part in zip(times, parts, strict=True) if part]


def by_time(since: datetime, until: datetime, step: timedelta) -> list[FigureRow]:
    midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + (since - midnight) // step * step
    found: list[FigureRow] = []
    while at < until:
        load = (0.15 if at.weekday() > 4 else 1) * (0.2 + math.exp(-(((at.hour - 13) / 4) ** 2)))
        jobs = round(9_000 * load * (step / HOUR))
        is_broken = at + step > BROKEN[0] and at < BROKEN[1]
        failed = jobs // 20 if is_broken else jobs // 2_000
        key = at.isoformat().replace("+00:00", "Z")
        found.append(row(key, jobs, failed=failed, ran=0.3 + load, waited=0.05 + load**4, began_at=at))
        at += step
    return found


def depths(since: datetime, until: datetime) -> list[DepthPoint]:
    found: list[DepthPoint] = []
    at = since
    while at < until:
        load = (0.15 if at.weekday() > 4 else 1) * math.exp(-(((at.hour + at.minute / 60 - 13) / 4) ** 2))
        for queue, most in (("images", 400), ("mail", 6_000)):
            waiting = round(most * load)
            oldest = waiting / 20 if waiting else None
            found.append(DepthPoint(at=at, queue=queue, waiting=waiting, running=8, set_aside=3, oldest=oldest))
        at += timedelta(minutes=20)
    return found


def report(
    span: timedelta = WEEK,
    by: ReportBy = "kind",
    *,
    rows: list[FigureRow] | None = None,
    before: list[FigureRow] | None = None,
    evil: str = "",
) -> Report:
    """Return the report; `evil` is put into names and messages, `rows` are those by kind."""
    since, until = UNTIL - span, UNTIL

    def figures(by: By, rows: list[FigureRow]) -> Figures:
        return Figures(
            since=since,
            until=until,
            by=by,
            rows=rows,
            depths=depths(since, until),
            errors=errors(TIME_STEPS[by] if by in ("minute", "hour", "day") else span, evil),
            releases=[ReleaseMark(name=f"8f21c07{evil}", first_at=BROKEN[0])],
            complete_until=until - timedelta(seconds=10),
        )

    own = kinds() if rows is None else rows
    if evil:
        own = [*own, row(f"kind{evil}", 30, ran=2)]
    hours = figures("hour", by_time(since, until, HOUR))
    step: TimeStep = "minute" if span <= 3 * HOUR else "hour" if span <= timedelta(days=8) else "day"
    over_time = hours if step == "hour" else figures(step, by_time(since, until, TIME_STEPS[step]))
    named = {"queue": ("images", "mail"), "tenant": ("", f"acme{evil}")}
    chosen = {
        "kind": figures("kind", own),
        "error": figures("kind", own),
        "hour": hours,
        "day": figures("day", by_time(since, until, timedelta(days=1))),
    } | {
        key: figures("queue" if key == "queue" else "tenant", [row(name, 1000, failed=3) for name in names])
        for key, names in named.items()
    }
    return make_report(
        by=by,
        kinds=figures("kind", own),
        chosen=chosen[by],
        over_time=over_time,
        step=step,
        hours=hours,
        before=kinds_before() if before is None else before,
    )


def empty() -> Report:
    """Return the report on a week without any figures."""
    nothing = Figures(
        since=UNTIL - WEEK,
        until=UNTIL,
        by="kind",
        rows=[],
        depths=[],
        errors=[],
        releases=[],
        complete_until=UNTIL - timedelta(seconds=10),
    )
    return make_report(
        by="kind", kinds=nothing, chosen=nothing, over_time=nothing, step="hour", hours=nothing, before=[]
    )
