"""Parts of a job: its loop was cut into ranges, and each is a child that runs the same code on its range."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from posthorse import ids
from posthorse.rules.job import NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import Operation, QuerySteps, TypedQuery, operation, query, single_operation
from posthorse.store.operations.families import NewFamily, adding_children
from posthorse.store.operations.finish import Settlement, settle_all
from posthorse.store.operations.lanes import lane_id
from posthorse.store.operations.read import JobRow
from posthorse.store.operations.submit import EntryTerms


class PartRow(NamedTuple):
    """A part and how it ended, if it did. The result is JSON, or packed."""

    job: str
    state: str
    options: str | None
    result: str | None
    reason: str | None


PARTS_OF = TypedQuery("parts_of", JobRow)
RESULTS_OF_PARTS = TypedQuery("results_of_parts", PartRow)
RESULTS_AT_ONCE = 100


def split_job(
    settlement: Settlement, parts: Sequence[NewJob], *, packing: Packing = PLAIN, told: Kinds = NO_KINDS
) -> Operation[bool]:
    """Set a job aside that was cut into parts, and store these; return False if its lease has ended.

    All in one commit. The job runs again when its parts are over.
    """
    return Operation(partial(_split, settlement, packing.new_jobs(parts), packing, told))


def _split(settlement: Settlement, parts: Sequence[NewJob], packing: Packing, told: Kinds) -> QuerySteps[bool]:
    lane = parts[0].lane
    terms = EntryTerms({lane: (yield from lane_id(lane))}, packing=packing, told=told)
    if (yield from adding_children(settlement.attempt, NewFamily(parts), terms)) is not None:
        yield query("run_after_children", job=settlement.attempt.job)
    return not (yield from settle_all([settlement]).start())


@single_operation
def parts_of(job: str) -> QuerySteps[list[JobRow]]:
    """Return the parts of a job as stored."""
    return list((yield from PARTS_OF(parent=job)))


@operation
def results_of_parts(job: str) -> QuerySteps[list[PartRow]]:
    """Return how the parts of a job ended; empty if it was not cut."""
    found: list[PartRow] = []
    after = ids.first_of(0)
    while True:
        page = yield from RESULTS_OF_PARTS(parent=job, after=after, limit=RESULTS_AT_ONCE)
        found += page
        if len(page) < RESULTS_AT_ONCE:
            return found
        after = page[-1].job
