"""Tallies and what is shown beside them: errors in groups, depths of queues, releases."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.rules.job import State
from posthorse.rules.tallies import Happened, Measured, add, decode_histogram, encode_histogram, tally_of_errors
from posthorse.store.base import (
    BoundQuery,
    QuerySteps,
    TypedQuery,
    creating_no_work,
    locking_first,
    operation,
    query,
    query_rows,
    single_operation,
)
from posthorse.store.operations.queues import QUEUE_LEASES
from posthorse.store.operations.store_facts import now
from posthorse.store.queries import Row

WRITTEN, MINUTE, HOUR, DAY = 10, 60, 3600, 86_400
"""The spans of tallies, in seconds: as runners write them, and as they are folded."""

MAX_ERROR_GROUPS = 200
"""Groups of errors that are read at once."""


class TallyRow(NamedTuple):
    """What happened to some jobs within a span of time; times are in microseconds, the histogram is JSON."""

    span: int
    began_at: int
    queue: str
    kind: str
    tenant: str
    happened: str
    times: int
    micros: int
    histogram: str


class DepthRow(NamedTuple):
    """How deep a queue was; `waited` is for how long its oldest job had waited, in microseconds."""

    at: int
    queue: str
    waiting: int
    running: int
    scheduled: int
    blocked: int
    paused: int
    failed: int
    waited: int | None


class ErrorRow(NamedTuple):
    """A group of errors."""

    fingerprint: str
    kind: str
    type: str
    message: str
    sample: str
    first_at: int
    last_at: int
    release: str | None
    times: int


class Beside(NamedTuple):
    """What figures of a time have beside tallies."""

    depths: list[DepthRow]
    errors: list[ErrorRow]
    releases: list[tuple[str, int]]


class Counted(NamedTuple):
    """What a runner counted of one happening since its last write."""

    queue: str
    kind: str
    tenant: str
    happened: str
    times: int
    micros: int
    histogram: str


class CountedError(NamedTuple):
    """Errors of one group since the last write; `sample` is a job that failed with one."""

    fingerprint: str
    kind: str
    type: str
    message: str
    sample: str
    times: int


class TallyBatch(NamedTuple):
    """What a runner writes at once. Its number grows, so that it is written once, however often it is sent."""

    number: int
    tallies: Sequence[Counted]
    errors: Sequence[CountedError]
    release: str | None


class Fold(NamedTuple):
    """From which span tallies are folded into which, in seconds, and how long they are kept before, in microseconds."""

    span: int
    into: int
    keep: int

    def end_of(self, began_at: int) -> int:
        """Return the end of the longer span that this moment is in."""
        return began_at - began_at % (self.into * SECOND) + self.into * SECOND


class TakenRow(NamedTuple):
    """A tally that is folded."""

    began_at: int
    queue: str
    kind: str
    tenant: str
    happened: str
    source: str
    times: int
    micros: int
    histogram: str


NUMBER_TALLIES = TypedQuery("number_tallies", tuple[int])
OLDEST_TALLY = TypedQuery("oldest_tally", tuple[int | None])
TAKE_TALLIES = TypedQuery("take_tallies", TakenRow)
LANE_DEPTHS = TypedQuery("lane_depths", tuple[str, int, int, int | None])
PARKED_DEPTHS = TypedQuery("parked_depths", tuple[str, str, int])
TALLIES = TypedQuery("tallies", TallyRow)
DEPTH_SAMPLES = TypedQuery("depth_samples", DepthRow)
ERROR_GROUPS = TypedQuery("error_groups", ErrorRow)
RELEASES = TypedQuery("releases", tuple[str, int])


@single_operation
def tallies(since: int, until: int, *, beyond: int) -> QuerySteps[list[TallyRow]]:
    """Return the tallies that began between two moments, and ended after a third.

    In one statement, so that a fold meanwhile neither hides nor doubles rows. The first two must be beginnings of days.
    """
    return (yield from TALLIES(since=since, until=until, beyond=beyond))


@operation
def beside_tallies(since: int, until: int) -> QuerySteps[Beside]:
    """Return depths, errors and releases between two moments."""
    depths = yield from DEPTH_SAMPLES(since=since, until=until)
    errors = yield from ERROR_GROUPS(since=since, until=until, limit=MAX_ERROR_GROUPS)
    return Beside(depths, errors, (yield from RELEASES(since=since, until=until)))


@operation
def oldest_day() -> QuerySteps[int | None]:
    """Return the beginning of the day of the oldest tally; None if there is none."""
    found: list[int] = []
    for span in (WRITTEN, MINUTE, HOUR, DAY):
        [(oldest,)] = yield from OLDEST_TALLY(span=span)
        if oldest is not None:
            found.append(oldest)
    return day_of(min(found)) if found else None


def day_of(at: int) -> int:
    """Return the beginning of the day of a moment, in UTC."""
    return at - at % (DAY * SECOND)


@locking_first
@creating_no_work
@operation
def write_tallies(runner: str, written: TallyBatch) -> QuerySteps[bool]:
    """Write what a runner counted, unless it is written already, or the runner is not registered any more.

    It locks first, because the rows of error groups are those of all runners.
    """
    if not (yield from NUMBER_TALLIES(runner=runner, number=written.number)):
        return False
    errors = [
        Counted("", error.kind, "", tally_of_errors(error.fingerprint), error.times, 0, "{}")
        for error in written.errors
    ]
    if written.tallies or errors:
        yield query_rows("add_tallies", [*written.tallies, *errors], source=f"{runner}/{written.number}")
    if written.errors:
        yield query_rows("add_errors", written.errors, release=written.release)
    return True


def tally_end(job: str, happened: Happened, source: str) -> BoundQuery:
    """Count an end that no runner counts, as a part of the operation that brings it about; `source` is of it alone."""
    return query("tally_end", job=job, happened=happened, source=source)


@operation
def folds_due(folds: Sequence[Fold]) -> QuerySteps[list[Fold]]:
    """Return which folds have something to do."""
    moment = yield from now()
    found: list[Fold] = []
    for fold in folds:
        [(oldest,)] = yield from OLDEST_TALLY(span=fold.span)
        if oldest is not None and fold.end_of(oldest) <= moment - fold.keep:
            found.append(fold)
    return found


@creating_no_work
@operation
def fold_tallies(fold: Fold, *, limit: int) -> QuerySteps[int]:
    """Fold the oldest tallies of one span into the next; return how many.

    What is folded is removed and written in one commit. A fold that runs beside it finds those rows gone.
    """
    [(oldest,)] = yield from OLDEST_TALLY(span=fold.span)
    if oldest is None or fold.end_of(oldest) > (yield from now()) - fold.keep:
        return 0
    end = fold.end_of(oldest)
    taken = yield from TAKE_TALLIES(span=fold.span, begin=oldest, end=end, limit=limit)
    if taken:
        yield query_rows("put_tallies", folded(taken), span=fold.into, began_at=end - fold.into * SECOND)
    return len(taken)


def folded(taken: Sequence[TakenRow]) -> list[Row]:
    """Add up tallies that differ only in their moments and sources; a sum is named by the first of them."""
    parts: dict[tuple[str, str, str, str], list[TakenRow]] = {}
    for row in taken:
        parts.setdefault(row[1:5], []).append(row)
    return [_sum_of(name, parts[name]) for name in sorted(parts)]


def _sum_of(name: tuple[str, str, str, str], rows: Sequence[TakenRow]) -> Row:
    first = min(f"{row.began_at}/{row.source}" for row in rows)
    measured = add(Measured(row.micros, decode_histogram(row.histogram)) for row in rows)
    source = sha256(first.encode()).hexdigest()[:16]  # as long after each fold
    return (*name, source, sum(row.times for row in rows), measured.total, encode_histogram(measured.over))


@creating_no_work
@single_operation
def forget_figures(*, before: int) -> QuerySteps[None]:
    """Remove figures of before a moment."""
    yield query("forget_figures", before=before)


@creating_no_work
@single_operation
def thin_depths(since: int, until: int) -> QuerySteps[None]:
    """Keep few of the depths between two moments."""
    yield query("thin_depths", since=since, until=until)


@operation
def depths_now(most: int) -> QuerySteps[dict[str, DepthRow]]:
    """Return how deep each queue is now, counted up to `most`."""
    moment = yield from now()
    running = dict((yield from QUEUE_LEASES()))
    parked: dict[str, dict[str, int]] = {}
    for queue, state, count in (yield from PARKED_DEPTHS(most=most)):
        parked.setdefault(queue, {})[state] = count
    found: dict[str, DepthRow] = {}
    for queue, waiting, failed, waited in (yield from LANE_DEPTHS(most=most)):
        aside = parked.get(queue, {})
        found[queue] = DepthRow(
            moment,
            queue,
            min(waiting, most),
            running.get(queue, 0),
            aside.get(State.SCHEDULED, 0),
            aside.get(State.BLOCKED, 0),
            aside.get(State.PAUSED, 0),
            min(failed, most),
            waited,
        )
    return found


@creating_no_work
@single_operation
def note_depths(depths: Sequence[DepthRow]) -> QuerySteps[None]:
    """Store how deep queues are, as of the store's clock."""
    yield query_rows("note_depths", [depth[1:] for depth in depths])
