"""Read figures over time: tallies are added up to rows, day by day, so that a year does not have to fit in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast, get_args

from posthorse.app.verbs import Verb, look_over, look_up
from posthorse.clock import SECOND, micros_of, microseconds, moment
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.tallies import RAN, Histogram, Measured, decode_histogram
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.tallies import DAY, HOUR, MINUTE, TallyRow, beside_tallies, day_of, tallies
from posthorse.views.figures import By, DepthPoint, ErrorGroup, FigureRow, Figures, ReleaseMark, Spread

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

BYS = get_args(By)
_TIMES = {"minute": MINUTE, "hour": HOUR, "day": DAY}


class _Row:
    """One row while it is added up."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.waited, self.ran = 0, 0
        self.waited_over, self.ran_over = Histogram(), Histogram()

    def add(self, tally: TallyRow) -> None:
        self.counts[tally.happened] = self.counts.get(tally.happened, 0) + tally.times
        if tally.happened == "started":
            self.waited += tally.micros
            over = self.waited_over
        elif tally.happened in RAN:
            self.ran += tally.micros
            over = self.ran_over
        else:
            return
        for bucket, count in decode_histogram(tally.histogram).items():
            over[bucket] = over.get(bucket, 0) + count

    def shown(self, key: str, began_at: int | None, seconds: float) -> FigureRow:
        completed = self.counts.get("completed", 0)
        return FigureRow(
            key=key,
            began_at=None if began_at is None else moment(began_at),
            started=self.counts.get("started", 0),
            completed=completed,
            failed=self.counts.get("failed", 0),
            retried=self.counts.get("retried", 0),
            lost=self.counts.get("lost", 0),
            cancelled=self.counts.get("cancelled", 0),
            rate=round(completed / seconds, 6),
            waited=Spread.of(Measured(self.waited, self.waited_over)),
            ran=Spread.of(Measured(self.ran, self.ran_over)),
        )


def figures_of(app: Posthorse, since: datetime | Duration, until: datetime | Duration, by: By) -> Verb[Figures]:
    """Read the figures between two moments. Raises InvalidOption."""
    if by not in BYS:
        raise InvalidOption(f"by is {short(by)}; figures can be had by {', '.join(BYS)}")
    now = yield from look_up(app, store_now())
    begin, end = _moment_of(since, now, name="since"), _moment_of(until, now, name="until")
    if begin >= end:
        raise InvalidOption(f"since ({moment(begin)}) must be before until ({moment(end)})")
    rows: dict[tuple[str, int | None], _Row] = {}
    day = day_of(begin)
    while day < end:
        following = day + DAY * SECOND
        for tally in (yield from look_over(app, tallies(day, min(following, end), beyond=begin))):
            rows.setdefault(_key(tally, by), _Row()).add(tally)
        day = following
    beside = yield from look_over(app, beside_tallies(begin, end))
    spans: dict[int | None, float] = {began_at: _seconds(began_at, by, begin, end, now) for _, began_at in rows}
    return Figures(
        since=moment(begin),
        until=moment(end),
        by=by,
        rows=[
            rows[key, began_at].shown(key, began_at, spans[began_at])
            for key, began_at in sorted(rows, key=lambda row: (row[1] or 0, row[0]))
        ],
        depths=[
            DepthPoint(
                at=moment(depth.at),
                queue=depth.queue,
                waiting=depth.waiting,
                running=depth.running,
                set_aside=depth.scheduled + depth.blocked + depth.paused + depth.failed,
                oldest=None if depth.waited is None else depth.waited / SECOND,
            )
            for depth in beside.depths
        ],
        errors=[
            ErrorGroup(
                fingerprint=group.fingerprint,
                kind=group.kind,
                type=group.type,
                message=group.message,
                count=group.times,
                first_at=moment(group.first_at),
                last_at=moment(group.last_at),
                release=group.release,
                sample=group.sample,
            )
            for group in beside.errors
        ],
        releases=[ReleaseMark(name=name, first_at=moment(first_at)) for name, first_at in beside.releases],
        complete_until=moment(min(end, now - round(app.store.tuning.tallies_interval * SECOND))),
    )


def _key(tally: TallyRow, by: By) -> tuple[str, int | None]:
    if by in _TIMES:
        began_at = tally.began_at - tally.began_at % (_TIMES[by] * SECOND)
        return moment(began_at).isoformat(), began_at
    return cast("str", getattr(tally, by)), None


def _seconds(began_at: int | None, by: By, begin: int, end: int, now: int) -> float:
    """Return for how long a row counted, to tell its rate."""
    if began_at is not None:
        begin, end = max(begin, began_at), min(end, began_at + _TIMES[by] * SECOND)
    return max(1.0, (min(end, now) - begin) / SECOND)


def _moment_of(value: datetime | Duration, now: int, *, name: str) -> int:
    """Return a moment that was given as such, or as how long ago it was."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidOption(f"{name} is {short(value)}; it must have a time zone, such as datetime.now(UTC)")
        return micros_of(value.astimezone(UTC))
    return max(0, now - microseconds(as_timedelta(value, name=name)))
