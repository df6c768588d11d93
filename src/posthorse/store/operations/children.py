"""Children that a running job adds: stored under the fence of its attempt, with the step that notes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from posthorse.rules.joins import Join
from posthorse.store.base import Operation, QuerySteps, TypedQuery, operation
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint
from posthorse.store.operations.families import NewFamily, adding_children
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.steps import StepRow
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.store.operations.waiting import JOIN_OF


class LeaseEnded(Exception):
    """Raised if an attempt adds children after its lease has ended; nothing is stored then."""


class Noted(NamedTuple):
    """What the commit that adds children saves beside them, so that no later attempt adds them again."""

    at: Checkpoint
    steps: Sequence[StepRow]


class FailedChild(NamedTuple):
    """A child that is a dead letter."""

    job: str
    reason: str | None


class Standing(NamedTuple):
    """How the children of a job stand: the join, if there are some, and the last dead letter among them."""

    join: Join | None
    failed: FailedChild | None


LAST_FAILED_CHILD = TypedQuery("last_failed_child", FailedChild)


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
def standing_of(job: str) -> QuerySteps[Standing]:
    """Return how the children of a job stand."""
    joins = yield from JOIN_OF(job=job)
    if not joins:
        return Standing(None, None)
    failed = (yield from LAST_FAILED_CHILD(parent=job)) if joins[0].failed else []
    return Standing(joins[0], failed[0] if failed else None)
