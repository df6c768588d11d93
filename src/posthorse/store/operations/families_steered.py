"""Families that are steered: what a user requested of a parent is done to its children, page by page.

A page is a transaction of its own. Its place is stored with the join of the parent, so the sweep goes on where a
process stopped. A family is in one request at a time: a later one begins anew.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, cast

from posthorse.errors import CodecError, InvalidTransition, JobNotFound
from posthorse.rules.job import State
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.requests import Request
from posthorse.store.base import QuerySteps, TypedQuery, locking_first, operation
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.operations.waiting import go_on_if_done, lock_family
from posthorse.store.operations.width import make_room_after_resume

CHILDREN_AT_ONCE = 200
KEEPS_ASKED = ("pause", "cancel")
"""Requests that hold for the family also after its children were asked: nothing of it is lined up."""


class SteeredFamily(NamedTuple):
    """A family to which something is done: what, and after which child."""

    job: str
    asked: str
    walked: str


STEERED_FAMILY = TypedQuery("steered_family", SteeredFamily)
CHILDREN_OF = TypedQuery("children_of", tuple[str, str])
WALK_ON = TypedQuery("walk_on", tuple[str])


@locking_first
@operation
def steer_families(packing: Packing = PLAIN) -> QuerySteps[bool]:
    """Do what was requested of a family to some of its children; False if there is no such family."""
    return (yield from steer_page(None, packing))


def steer_page(parent: str | None, packing: Packing) -> QuerySteps[bool]:
    """Do what was requested of a family to some of its children, as a part of other operations; False if nothing was.

    None: of any family.
    """
    families = yield from STEERED_FAMILY(job=parent)
    if not families:
        return False
    [family] = families
    children = yield from CHILDREN_OF(parent=family.job, after=family.walked, limit=CHILDREN_AT_ONCE)
    is_last = len(children) < CHILDREN_AT_ONCE
    yield from lock_family(family.job)
    walked = yield from WALK_ON(
        job=family.job,
        asked=family.asked,
        before=family.walked,
        walked=None if is_last else children[-1][0],
        keeps=int(not is_last or family.asked in KEEPS_ASKED),
    )
    if not walked:
        return True
    for child, state in children:
        yield from _steer(child, State(state), cast("Request", family.asked), packing)
    if is_last:
        if family.asked == "resume":
            yield from make_room_after_resume(family.job)
        yield from go_on_if_done(family.job)
    return True


def _steer(child: str, state: State, asked: Request, packing: Packing) -> QuerySteps[None]:
    if asked == "retry" and state not in (State.FAILED, State.CANCELLED):
        return
    if state.is_final and asked != "retry":
        return
    if asked == "resume" and state is State.BLOCKED:  # its needs may have been met while the family was paused
        yield from lock_family(child)
        yield from go_on_if_done(child)
        return
    with suppress(JobNotFound, InvalidTransition, CodecError):  # all are raised before anything is written
        yield from do_as_asked(child, asked, packing=packing)
