"""Checkpoints of parts that concern the other parts of their job: a slice whose bad items are judged together with
theirs, and a rest that is given away to a new part. Each is one commit.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple

from posthorse.rules.cursor import Cursor
from posthorse.rules.job import NewJob
from posthorse.rules.joins import Join
from posthorse.rules.parts import Part
from posthorse.rules.ranges import MOST_PARTS
from posthorse.rules.tolerance import Others, others_of
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import Operation, QuerySteps, TypedQuery, operation
from posthorse.store.operations.checkpoints import BadItemChanges, Checkpoint, Saved, write_checkpoint
from posthorse.store.operations.families import HOLD_LEASE, NewFamily, submitting
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.lanes import lane_id
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.operations.waiting import lock_family


class FamilyOfPart(NamedTuple):
    """The job that a part belongs to; how many of its parts are not over, how many there are, and how many may run."""

    job: str
    open: int
    total: int
    width: int | None


class PartLeft(NamedTuple):
    """A part that is not over. The last three are None until its first checkpoint."""

    job: str
    is_running: int
    done: int | None
    total: int | None
    pace: str | None


class Gift(NamedTuple):
    """What a part gives away: a part, to be stored as this job, and what it keeps: up to where, and how many items.

    wanted: how many parts should run side by side.
    """

    part: Part
    job: NewJob
    upto: Cursor
    total: int | None
    wanted: int


class Given(Enum):
    """What came of a gift."""

    HALF = "the new part has half of what the giver had left"
    NOTHING = "enough parts run now, or another part was made meanwhile"
    LOST = "the giver has lost its lease"


LOOPS_OF_OTHERS = TypedQuery("loops_of_others", tuple[str, str | None])
FAMILY_OF_PART = TypedQuery("family_of_part", FamilyOfPart)
PARTS_LEFT = TypedQuery("parts_left", PartLeft)


def judged_checkpoint(
    attempt: Fence, at: Checkpoint, changes: BadItemChanges | None, loop: str, judge: Callable[[Others], None]
) -> Operation[Saved | None]:
    """Save a slice of a part, as `checkpoint` does, unless `judge` raises about the loop in all parts together.

    Parts that commit at the same moment are judged one after the other.
    """
    return Operation(partial(_judged, attempt, at, changes, loop, judge), creates_no_work=True)


@operation
def parts_left(job: str, wanted: int) -> QuerySteps[tuple[FamilyOfPart, list[PartLeft]] | None]:
    """Return the parts beside one, and itself, that are not over; None if enough run, or the family is being steered.

    wanted: how many should run side by side, unless a user said otherwise.
    """
    families = yield from FAMILY_OF_PART(job=job)
    if not families or families[0].open >= (families[0].width or wanted):
        return None
    return families[0], (yield from PARTS_LEFT(parent=families[0].job))


def give_away(attempt: Fence, kept: Checkpoint, gift: Gift, *, told: Kinds = NO_KINDS) -> Operation[Given]:
    """Save the state of a part that keeps half, and store the part that has the rest from now on, in one commit.

    Nothing is done if enough parts run, the job has as many as it can have, or another part was made meanwhile. It is
    not repeatable: run again, it would count the new part twice.
    """
    return Operation(partial(_give, attempt, kept, gift, told), is_repeatable=False)


def _judged(
    attempt: Fence, at: Checkpoint, changes: BadItemChanges | None, loop: str, judge: Callable[[Others], None]
) -> QuerySteps[Saved | None]:
    saved = yield from write_checkpoint(attempt, at, True, changes, ())
    if saved is not None:
        yield from lock_family(attempt.job)
        judge(others_of((yield from LOOPS_OF_OTHERS(job=attempt.job)), loop))
    return saved


def _give(attempt: Fence, kept: Checkpoint, gift: Gift, told: Kinds) -> QuerySteps[Given]:
    if not (yield from HOLD_LEASE(**attempt._asdict())):
        return Given.LOST
    parent = (yield from lock_family(attempt.job)).parent
    if parent is None or not _has_room(parent, gift):
        return Given.NOTHING
    yield from write_checkpoint(attempt, kept, False, None, ())
    lane = gift.job.lane
    terms = EntryTerms({lane: (yield from lane_id(lane))}, told=told)
    yield from submitting(NewFamily([gift.job]), terms)
    return Given.HALF


def _has_room(parent: Join, gift: Gift) -> bool:
    wanted = parent.width or gift.wanted
    if parent.total >= MOST_PARTS:
        return False
    return parent.asked is None and parent.runs_again and parent.open < wanted and parent.total == gift.part.number
