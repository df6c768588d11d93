"""Tallies and what is shown beside them: errors in groups, depths of queues, releases."""

from __future__ import annotations

from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.store.base import QuerySteps, TypedQuery, operation, single_operation

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


def day_of(at: int) -> int:
    """Return the beginning of the day of a moment, in UTC."""
    return at - at % (DAY * SECOND)
