"""Stocks by key: the newest result of each key stays, is read by any number of callers, and is replaced by the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.rules.job import NewJob
from posthorse.rules.stock import HOLD, StockDeclaration
from posthorse.store.base import (
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
)
from posthorse.store.operations.queues import check_open, check_room
from posthorse.store.operations.stock import TIDIED_AT_ONCE, Ordering, Tidied, put_in, tally

KEYS_AT_ONCE = 200


class KeptRow(NamedTuple):
    """What a stock has under a key: a result, an order, or a job without a result. `result` is JSON, perhaps packed."""

    job: str
    state: str
    since: int
    asked: int
    result: str | None
    options: str | None
    now: int


class KeysHeld(NamedTuple):
    """What a stock has by key: fresh results, stale ones, orders, failures; since when the oldest is there."""

    made: int
    stale: int
    ordered: int
    failed: int
    oldest: int | None
    now: int


class AskedRow(NamedTuple):
    """A key that is wanted, and the job that made its result, with stored arguments."""

    key: str
    job: str
    arguments: str
    options: str | None


KEPT_BY_KEY = TypedQuery("kept_by_key", KeptRow)
KEYS_HELD = TypedQuery("keys_held", KeysHeld)
ASKED_KEYS = TypedQuery("asked_keys", AskedRow)
DROP_KEY = TypedQuery("drop_key", tuple[str])
TIDY_KEYS = TypedQuery("tidy_keys", tuple[str, int])
TIDY_FAILED_KEYS = TypedQuery("tidy_failed_keys", tuple[str, int])


@single_operation
def kept(stock: str, tenant: str, key: str) -> QuerySteps[list[KeptRow]]:
    """Return what a stock has under a key."""
    return (yield from KEPT_BY_KEY(stock=stock, tenant=tenant, key=key))


@creating_no_work
@single_operation
def mark_asked(job: str) -> QuerySteps[None]:
    """Note that a result was read since it was made, so that a schedule makes it anew."""
    yield query("mark_asked", job=job)


@operation
def order_keys(
    stock: StockDeclaration, tenant: str, calls: Sequence[tuple[NewJob, str]], ordering: Ordering
) -> QuerySteps[list[str]]:
    """Order results for keys; return the new jobs, without those for keys that have an order already.

    calls: jobs with ids, and the keys that they are for. Raises QueueClosed, QueueFull.
    """
    jobs = [job for job, _ in calls]
    check_open(jobs, ordering.closed)
    yield from check_room(jobs, ordering.gauges)
    # A job without a result that held its place for long enough makes room.
    yield query_rows("make_room", [(key,) for _, key in calls], stock=stock.name, tenant=tenant, hold=HOLD)
    return [job.id for job in (yield from put_in(stock.name, tenant, calls, ordering))]


@single_operation
def asked_keys(stock: str, tenant: str, *, after: str = "") -> QuerySteps[list[AskedRow]]:
    """Return the next keys, in order, whose results were read since they were made."""
    return (yield from ASKED_KEYS(stock=stock, tenant=tenant, after=after, limit=KEYS_AT_ONCE))


@single_operation
def keys_held(stock: StockDeclaration, tenant: str) -> QuerySteps[KeysHeld]:
    """Return what a stock has by key, in all."""
    return (yield from KEYS_HELD(stock=stock.name, tenant=tenant, ttl=stock.fresh_for, hold=HOLD))[0]


@creating_no_work
@operation
def drop_key(stock: str, tenant: str, key: str) -> QuerySteps[bool]:
    """Remove the result under a key; False if there is none."""
    dropped = yield from DROP_KEY(stock=stock, tenant=tenant, key=key)
    yield from tally(stock, emptied=len(dropped))
    return bool(dropped)


@creating_no_work
@operation
def tidy_keys(stock: StockDeclaration, tenant: str, *, limit: int = TIDIED_AT_ONCE) -> QuerySteps[Tidied]:
    """Remove results that are of no use any more, and jobs that held their places for long enough.

    What expired without having been read is counted.
    """
    late = yield from TIDY_KEYS(stock=stock.name, tenant=tenant, span=stock.kept_for, limit=limit)
    held = yield from TIDY_FAILED_KEYS(stock=stock.name, tenant=tenant, span=HOLD, limit=limit)
    expired = sum(1 for _, asked in late if not asked)
    yield from tally(stock.name, expired=expired)
    return Tidied(0, expired, limit in (len(late), len(held)))


@creating_no_work
@operation
def empty_keys(stock: str, tenant: str, *, limit: int = TIDIED_AT_ONCE) -> QuerySteps[int]:
    """Remove results by key; return how many."""
    gone = yield from TIDY_KEYS(stock=stock, tenant=tenant, span=-1, limit=limit)
    yield from TIDY_FAILED_KEYS(stock=stock, tenant=tenant, span=-1, limit=limit)
    yield from tally(stock, emptied=len(gone))
    return len(gone)
