"""Bad items: what long jobs tolerated, stored with its errors, read page by page, and retried alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.loop_state import decode_loops, encode_loops
from posthorse.rules.packing import Packing
from posthorse.store.base import QuerySteps, TypedQuery, query, query_rows, single_operation
from posthorse.store.operations.lanes import home_of, lane_id
from posthorse.store.operations.moves import LOOPS_OF, REVIVE, place
from posthorse.store.operations.one_job import HELD_LEASE, LOCK_JOB, LockedJob, missing
from posthorse.store.operations.recording import record
from posthorse.store.operations.stock_ends import order_again
from posthorse.store.operations.unique import claim_identity_again
from posthorse.store.operations.waiting import Family, lock_family, open_again


class BadItemRow(NamedTuple):
    """A bad item as stored. `form` is "value", "key" or "text", and says what `item` holds."""

    loop: str
    number: int
    at: int
    form: str
    item: str
    type: str
    message: str
    traceback: str | None


class RetryRow(NamedTuple):
    """A bad item that should be retried."""

    number: int
    form: str
    item: str


BAD_ITEMS = TypedQuery("bad_items", BadItemRow)
BAD_ITEMS_TO_RETRY = TypedQuery("bad_items_to_retry", RetryRow)
COUNT_BAD_ITEMS = TypedQuery("count_bad_items", tuple[str, int, int, int])
TIMES_OF = TypedQuery("times_of", tuple[int | None, int | None, str | None])


@single_operation
def bad_items(job: str, *, loop: str, number: int, limit: int) -> QuerySteps[list[BadItemRow]]:
    """Return bad items of a job after this one, in order of loop and number."""
    return (yield from BAD_ITEMS(job=job, loop=loop, number=number, limit=limit))


@single_operation
def bad_items_to_retry(job: str, loop: str, *, after: int, upto: int, limit: int) -> QuerySteps[list[RetryRow]]:
    """Return the retryable ones of a loop, after one number and up to another."""
    return (yield from BAD_ITEMS_TO_RETRY(job=job, loop=loop, after=after, upto=upto, limit=limit))


def state_with_bad_items(job: str) -> QuerySteps[State]:
    """Lock a job and its family; return its state. Raises JobNotFound, InvalidTransition if it is not over."""
    return (yield from _lock(job))[1]


def retry_own_bad_items(job: str, packing: Packing) -> QuerySteps[State]:
    """Run a job that is over again for the bad items that it met itself, as a part of other operations.

    Its loops receive the stored items instead of their sources. A loop that had not ended goes on after them. Raises
    JobNotFound, InvalidTransition, CodecError.
    """
    family, state, locked = yield from _lock(job)
    found = yield from COUNT_BAD_ITEMS(job=job)
    last = {loop: number for loop, _, number, _ in found if number}
    goes_on_with_some = state is State.FAILED and any(uncommitted for *_, uncommitted in found)
    if not last and not goes_on_with_some:
        kept = sum(count for _, count, _, _ in found)
        why = f"its {kept:,} bad items were kept as text only" if kept else "it has none"
        raise InvalidTransition(f"job {job} has no bad items that could be retried: {why}")
    cursors = yield from LOOPS_OF(job=job)
    loops = decode_loops(cursors[0][0]) if cursors else {}
    for name, loop in loops.items():
        loop.retried, loop.retry_upto, loop.failed = 0, last.get(name, 0), 0
        loop.is_over = loop.is_over or state is State.COMPLETED
    [times] = yield from TIMES_OF(job=job)
    yield query("rewrite_cursors", job=job, cursors=encode_loops(loops))
    yield from claim_identity_again(job, packing)
    if state is State.FAILED:
        yield query("unpark", job=job)
    number = yield from lane_id(home_of(*locked[5:]))
    [(version, _)] = yield from REVIVE(job=job, waits=False, blocks=False, lane=number, wait=None)
    yield from place(job, State.PENDING, run_at=None)
    told: dict[str, object] = {"detail": "its bad items alone"}
    if state is State.COMPLETED:  # its row describes the new run from now on
        yield from order_again(job)
        told["completed"] = dict(zip(("started_at", "finished_at", "worker"), times, strict=True))
    detail = msgspec.json.encode(told).decode()
    yield from record(job, version, "retried", detail)
    if family.parent is not None:
        yield from open_again(family.parent.job, failed=state is State.FAILED)
    return State.PENDING


def _lock(job: str) -> QuerySteps[tuple[Family, State, LockedJob]]:
    family = yield from lock_family(job)
    locked = yield from LOCK_JOB(job=job)
    if not locked:
        raise (yield from missing(job))
    state = State.PROCESSING if (yield from HELD_LEASE(job=job)) else State(locked[0].state)
    if state not in (State.COMPLETED, State.FAILED):
        raise InvalidTransition(
            f"job {job} is {state.value}; its bad items can be retried once it is completed or failed"
        )
    return family, state, locked[0]


@single_operation
def mark() -> QuerySteps[None]:
    """Begin a part of a transaction that `undo` can take back."""
    yield query("set_savepoint")


@single_operation
def keep() -> QuerySteps[None]:
    """Keep what was done since `mark`."""
    yield query("release_savepoint")


@single_operation
def undo() -> QuerySteps[None]:
    """Take back what was done since `mark`; `keep` must follow."""
    yield query("undo_to_savepoint")


def keep_and_drop(
    job: str, epoch: int, loop: str, bad: Sequence[BadItemRow], mended: Sequence[int]
) -> QuerySteps[None]:
    """Write the changes of a slice to the bad items of its loop, as a part of its commit."""
    if bad:
        yield query_rows(
            "keep_bad_items",
            [(job, loop, b.number, epoch, b.form, b.item, b.type, b.message, b.traceback) for b in bad],
        )
    if mended:
        yield query_rows("drop_bad_items", [(job, loop, number) for number in mended])
