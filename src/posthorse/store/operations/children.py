"""Children that a running job adds: stored under the fence of its attempt, with the step that notes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from posthorse.rules.joins import Join
from posthorse.store.base import Operation, QuerySteps, operation
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint
from posthorse.store.operations.families import NewFamily, adding_children
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.steps import StepRow
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.store.operations.waiting import JOIN_OF, FailedChild, dead_since


class LeaseEnded(Exception):
    """Raised if an attempt adds children after its lease has ended; nothing is stored then."""


class Noted(NamedTuple):
    """What the commit that adds children saves beside them, so that no later attempt adds them again."""

    at: Checkpoint
    steps: Sequence[StepRow]


class Standing(NamedTuple):
    """How the children of a job stand: the join, if there are some, how many of those that were added since the last
    join are dead letters, and the last one of them.
    """

    join: Join | None
    dead: int = 0
    last: FailedChild | None = None


def add_noted(
    attempt: Fence, noted: Noted | None, family: NewFamily, terms: EntryTerms
) -> Operation[list[SubmitResult]]:
    """Write new children of a running job, and the steps that note them; see `families.add_children`.

    noted: None inside the transaction of a slice, whose commit notes them. Raises LeaseEnded.
    """
    packed = family._replace(jobs=terms.packing.new_jobs(family.jobs))
    return Operation(partial(_adding, attempt, noted, packed, terms), is_repeatable=False)


def _adding(
    attempt: Fence, noted: Noted | None, family: NewFamily, terms: EntryTerms
) -> QuerySteps[list[SubmitResult]]:
    if noted is not None and (yield from checkpoint(attempt, noted.at, steps=noted.steps).start()) is None:
        raise LeaseEnded
    added = yield from adding_children(attempt, family, terms)
    if added is None:
        raise LeaseEnded
    return added


@operation
def standing_of(job: str, joins: int) -> QuerySteps[Standing]:
    """Return how the children of a job stand after so many joins."""
    found = yield from JOIN_OF(job=job)
    if not found:
        return Standing(None)
    return Standing(found[0], *(yield from dead_since(found[0], joins)))
