"""Add tallies up to the rows of figures: by kind, queue or tenant, or by minute, hour or day."""

from __future__ import annotations

from typing import cast, get_args

from posthorse.clock import SECOND, moment
from posthorse.rules.tallies import RAN, Histogram, Measured, decode_histogram, fingerprint_in, stock_happening_in
from posthorse.store.operations.tallies import DAY, HOUR, MINUTE, TallyRow
from posthorse.views.figures import By, ErrorCount, FigureRow, Spread

BYS = get_args(By)
_TIMES = {"minute": MINUTE, "hour": HOUR, "day": DAY}


class Sums:
    """What happened between two moments, in microseconds, while it is added up.

    errors: how many errors each group had, by its fingerprint, and by the time of the row.
    stocks: what happened at each stock, and how often, by its name.
    """

    def __init__(self, since: int, until: int, by: By) -> None:
        self.since, self.until = since, until
        self.by: By = by
        self.errors: dict[str, dict[int | None, int]] = {}
        self.stocks: dict[str, dict[str, int]] = {}
        self._rows: dict[tuple[str, int | None], _Row] = {}

    def add(self, tally: TallyRow) -> None:
        """Add a tally, unless it lies outside of the time. One that lies partly within counts as a whole."""
        if tally.began_at >= self.until or tally.began_at + tally.span * SECOND <= self.since:
            return
        if (at_stock := stock_happening_in(tally.happened)) is not None:
            happened = self.stocks.setdefault(tally.kind, {})
            happened[at_stock] = happened.get(at_stock, 0) + tally.times
            return
        fingerprint = fingerprint_in(tally.happened)
        key, began_at = self._key(tally)
        if fingerprint is None:
            self._rows.setdefault((key, began_at), _Row()).add(tally)
        else:
            counts = self.errors.setdefault(fingerprint, {})
            counts[began_at] = counts.get(began_at, 0) + tally.times

    def rows(self, now: int) -> list[FigureRow]:
        """Return the rows, by time or by name."""
        ordered = sorted(self._rows, key=lambda row: (row[1] or 0, row[0]))
        return [
            self._rows[key, began_at].shown(key, began_at, self._seconds(began_at, now)) for key, began_at in ordered
        ]

    def errors_within(self, fingerprint: str) -> int:
        """Return how many errors a group had."""
        return sum(self.errors.get(fingerprint, {}).values())

    def errors_over_time(self, fingerprint: str) -> list[ErrorCount]:
        """Return how many errors a group had in each time; none unless rows are by time."""
        counts = self.errors.get(fingerprint, {})
        return [
            ErrorCount(began_at=moment(began_at), count=count)
            for began_at, count in sorted((at, count) for at, count in counts.items() if at is not None)
        ]

    def _key(self, tally: TallyRow) -> tuple[str, int | None]:
        if self.by in _TIMES:
            began_at = tally.began_at - tally.began_at % (_TIMES[self.by] * SECOND)
            return moment(began_at).isoformat(), began_at
        return cast("str", getattr(tally, self.by)), None

    def _seconds(self, began_at: int | None, now: int) -> float:
        """Return for how long a row counted, to tell its rate."""
        begin, end = self.since, self.until
        if began_at is not None:
            begin, end = max(begin, began_at), min(end, began_at + _TIMES[self.by] * SECOND)
        return max(1.0, (min(end, now) - begin) / SECOND)


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
