"""Bad items of a job that was cut: they are those of all its parts, read as one list, counted, and retried together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from posthorse import ids
from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.packing import PLAIN, Packing
from posthorse.store.base import QuerySteps, TypedQuery, operation
from posthorse.store.operations.bad_items import (
    BAD_ITEMS,
    COUNT_BAD_ITEMS,
    BadItemRow,
    retry_own_bad_items,
    state_with_bad_items,
)
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.operations.read import outcome
from posthorse.store.operations.stored_parts import StoredPart, parts_stored
from posthorse.store.operations.unique import claim_identity_again
from posthorse.store.operations.waiting import LOCK_JOBS


class PartBadItemRow(NamedTuple):
    """A bad item as stored, and the part that met it."""

    part: str
    loop: str
    number: int
    at: int
    form: str
    item: str
    type: str
    message: str
    traceback: str | None


class PartBadItemCount(NamedTuple):
    """How many bad items one loop of a part has, the last that can be retried, and how many were not committed."""

    part: str
    loop: str
    items: int
    last: int
    uncommitted: int


class BadItemPlace(NamedTuple):
    """The place of a bad item in the list of a job. shard: the number of its part, if the job was cut."""

    shard: int | None
    loop: str
    number: int


START = BadItemPlace(None, "", -1)


class FoundBadItem(NamedTuple):
    """A bad item, with the job that met it: the one that was asked for, or a part of it."""

    job: str
    shard: int | None
    options: str | None
    row: BadItemRow


BAD_ITEMS_OF_PARTS = TypedQuery("bad_items_of_parts", PartBadItemRow)
COUNT_BAD_ITEMS_OF_PARTS = TypedQuery("count_bad_items_of_parts", PartBadItemCount)


@operation
def bad_items_of_known(job: str, *, after: BadItemPlace, limit: int) -> QuerySteps[list[FoundBadItem] | None]:
    """Return bad items of a job and its parts after a place; None if the job does not exist.

    Those of one part follow each other, in the order of loop and number; parts in the order in which they were made.
    """
    found: list[FoundBadItem] = []
    if after.shard is None:
        own = yield from BAD_ITEMS(job=job, loop=after.loop, number=after.number, limit=limit)
        found += [FoundBadItem(job, None, None, row) for row in own]
    if len(found) < limit:
        found += yield from _of_parts(job, after, limit - len(found))
    if not found and (yield from outcome(job).start()) is None:
        return None
    return found


@operation
def count_bad_items(job: str) -> QuerySteps[int]:
    """Return how many bad items a job and its parts have."""
    own = sum(count for _, count, _, _ in (yield from COUNT_BAD_ITEMS(job=job)))
    if not (yield from parts_stored(job, limit=1)):
        return own
    return own + sum(each.items for each in (yield from COUNT_BAD_ITEMS_OF_PARTS(parent=job)))


@operation
def retry_bad_items(job: str, packing: Packing = PLAIN) -> QuerySteps[State]:
    """Run a job that is over again for its bad items. Raises JobNotFound, InvalidTransition, CodecError.

    A job that was cut waits for its parts with bad items, and joins all results again. If it failed, the parts that did
    not complete go on, too.
    """
    parts = yield from parts_stored(job)
    if not parts:
        return (yield from retry_own_bad_items(job, packing))
    state = yield from state_with_bad_items(job)
    wanted = _with_retryable((yield from COUNT_BAD_ITEMS_OF_PARTS(parent=job)), parts)
    if not wanted:
        raise InvalidTransition(f"job {job} has no bad items that could be retried in any of its {len(parts):,} parts")
    yield from claim_identity_again(job, packing)
    for part, stored in parts.items():
        if part in wanted:
            yield from retry_own_bad_items(part, packing)
        elif state is State.FAILED and stored.state in (State.FAILED, State.CANCELLED):
            yield from do_as_asked(part, "retry", packing=packing)
    [locked] = yield from LOCK_JOBS([(job,)])
    return State(locked.state)


def _of_parts(job: str, after: BadItemPlace, limit: int) -> QuerySteps[list[FoundBadItem]]:
    parts = yield from parts_stored(job)
    if not parts:
        return []
    ids_by_number = {stored.number: id for id, stored in parts.items()}
    if after.shard is None:
        part, loop, number = ids.first_of(0), "", -1
    else:
        part, loop, number = ids_by_number.get(after.shard, ids.first_of(0)), after.loop, after.number
    rows = yield from BAD_ITEMS_OF_PARTS(parent=job, part=part, loop=loop, number=number, limit=limit)
    return [
        FoundBadItem(row.part, parts[row.part].number, parts[row.part].options, BadItemRow(*row[1:]))
        for row in rows
        if row.part in parts
    ]


def _with_retryable(counts: list[PartBadItemCount], parts: Mapping[str, StoredPart]) -> set[str]:
    """Return the parts that can be run again for their bad items."""
    return {
        each.part
        for each in counts
        if each.part in parts
        and (
            (each.last and parts[each.part].state in (State.COMPLETED, State.FAILED))
            or (each.uncommitted and parts[each.part].state is State.FAILED)
        )
    }
