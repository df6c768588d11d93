"""Stocks: results are ordered, put on a shelf as their jobs complete, and taken from it, each once.

An order is a job with a row in `stocked`. It counts as if its result were there, so however many processes look at a
shelf, no more is ordered than it lacks: they order under the lock of its row in `stocks`. Taking is one statement; a
transaction that rolls back has taken nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import uuid4

import msgspec

from posthorse import ids
from posthorse.errors import QueueClosed, QueueFull
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queue_depth import Gauge
from posthorse.rules.stock import HOLD, Refill, Served, Shelf, StockDeclaration, counted_up_to, refill_of
from posthorse.rules.tallies import stock_happening_in, tally_of_stock
from posthorse.rules.watched import NO_KINDS, Kinds
from posthorse.store.base import (
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
    unrepeatable_operation,
)
from posthorse.store.operations import store_facts
from posthorse.store.operations.queues import check_open, check_room
from posthorse.store.operations.submit import NO_GAUGES, NONE_CLOSED, enqueue

TIDIED_AT_ONCE = 1_000
SHELF_KEY = ""


class StockRow(NamedTuple):
    """A stock of one tenant, as stored."""

    name: str
    tenant: str
    declared: str
    level: int | None
    refilling: int
    seen_at: int
    now: int


class TakenResult(NamedTuple):
    """A result that was taken; `result` is JSON, perhaps packed, and `made_at` when its job completed."""

    job: str
    result: str | None
    options: str | None
    made_at: int


class Ordering(NamedTuple):
    """What an order needs to know of queues: lanes, depths, what is closed; and what packs and watches new jobs."""

    lanes: Mapping[Lane, int]
    gauges: Mapping[str, Gauge] = NO_GAUGES
    closed: frozenset[str] = NONE_CLOSED
    packing: Packing = PLAIN
    told: Kinds = NO_KINDS


class OrderReply(NamedTuple):
    """The jobs that were ordered; why not all that the shelf lacks; and whether it lacks more."""

    jobs: Sequence[str]
    refusal: QueueClosed | QueueFull | None = None
    goes_on: bool = False


class Tidied(NamedTuple):
    """What was removed: results that were taken, those that no caller took in time; and whether more may be left."""

    taken: int
    expired: int
    may_be_more: bool


STOCKS = TypedQuery("stocks", StockRow)
HOLD_SHELF = TypedQuery("hold_shelf", tuple[int | None, int])
SHELF = TypedQuery("shelf", Shelf)
PUT_ORDERS = TypedQuery("put_orders", tuple[str])
OPEN_ORDERS = TypedQuery("open_orders", tuple[str])
FAILED_ORDERS = TypedQuery("failed_orders", tuple[str])
TAKE_STOCK = TypedQuery("take_stock", tuple[str, str | None, str | None, int])
TIDY_SHELF = TypedQuery("tidy_shelf", tuple[str, int])
SET_LEVEL = TypedQuery("set_level", tuple[str])
FORGET_STOCK = TypedQuery("forget_stock", tuple[str])
STOCK_SAMPLE = TypedQuery("stock_sample", tuple[str, str, int, int])
STOCK_FIGURES = TypedQuery("stock_figures", tuple[str, int])


# ── declaring and reading ────────────────────────────────────────────────────────────────────────────


@single_operation
def stocks() -> QuerySteps[list[StockRow]]:
    """Return all stocks, a row for each tenant, by name."""
    return (yield from STOCKS())


@creating_no_work
@operation
def attend(declared: Sequence[StockDeclaration]) -> QuerySteps[None]:
    """Write what code declares, and that a worker attends to it."""
    now = yield from store_facts.now()
    rows = sorted((one.name, one.encode()) for one in declared)
    yield query_rows("enter_stocks", [(name, "", text) for name, text in rows], seen_at=now)
    yield query_rows("see_stocks", rows)


@operation
def shelf_of(stock: StockDeclaration, tenant: str, level: int | None = None) -> QuerySteps[Shelf]:
    """Return what a shelf holds."""
    return (yield from _shelf(stock, tenant, level))


@single_operation
def open_orders(stock: str, tenant: str, key: str = SHELF_KEY, *, limit: int = 20) -> QuerySteps[list[str]]:
    """Return the jobs that are ordered, the oldest first."""
    return [job for (job,) in (yield from OPEN_ORDERS(stock=stock, tenant=tenant, key=key, limit=limit))]


@single_operation
def failed_orders(stock: str, tenant: str, key: str = SHELF_KEY) -> QuerySteps[list[str]]:
    """Return the newest job that ended without a result; an empty list if there is none."""
    return [job for (job,) in (yield from FAILED_ORDERS(stock=stock, tenant=tenant, key=key, limit=1))]


@operation
def stock_figures(stock: str, span: int) -> QuerySteps[Served]:
    """Return how a stock served its callers within the last microseconds."""
    now = yield from store_facts.now()
    rows = yield from STOCK_FIGURES(stock=stock, since=now - span)
    counts = {stock_happening_in(happened): count for happened, count in rows}
    return Served(**{field: counts.get(field, 0) for field in Served._fields})


@single_operation
def stock_sample() -> QuerySteps[list[tuple[str, str, int, int]]]:
    """Return how many results and orders each stock has, of all tenants: name, state, count, and since when."""
    return (yield from STOCK_SAMPLE())


# ── steering ─────────────────────────────────────────────────────────────────────────────────────────


@operation
def set_level(stock: StockDeclaration, tenant: str, level: int | None) -> QuerySteps[None]:
    """Set the live level of a shelf; None for the declared one."""
    yield query_rows("enter_stocks", [(stock.name, tenant, stock.encode())], seen_at=0)
    yield from SET_LEVEL(stock=stock.name, tenant=tenant, level=level)


@operation
def forget_stock(stock: str, tenant: str) -> QuerySteps[bool]:
    """Forget a stock of one tenant, and what is ordered for it; the results that it has must be gone before."""
    yield query("forget_orders", stock=stock, tenant=tenant)
    return bool((yield from FORGET_STOCK(stock=stock, tenant=tenant)))


# ── ordering ─────────────────────────────────────────────────────────────────────────────────────────


@operation
def order_results(
    stock: StockDeclaration, tenant: str, call: NewJob, ordering: Ordering, *, to_level: bool = False
) -> QuerySteps[OrderReply]:
    """Order what a shelf lacks; nothing if another process orders for it at this moment.

    call: the job of each order, without an id. to_level: fill it also if it is not low.
    """
    held = yield from HOLD_SHELF(stock=stock.name, tenant=tenant)
    if not held:
        yield query_rows("enter_stocks", [(stock.name, tenant, stock.encode())], seen_at=0)
        held = yield from HOLD_SHELF(stock=stock.name, tenant=tenant)
    if not held:
        return OrderReply([])
    [(level, is_refilling)] = held
    shelf = yield from _shelf(stock, tenant, level)
    refill = refill_of(stock, shelf, level=level, is_refilling=bool(is_refilling), to_level=to_level)
    if refill.goes_on != bool(is_refilling):
        yield query("set_refilling", stock=stock.name, tenant=tenant, refilling=refill.goes_on)
    return (yield from _ordered(stock, tenant, call, refill, shelf.now, ordering))


def _shelf(stock: StockDeclaration, tenant: str, level: int | None) -> QuerySteps[Shelf]:
    [shelf] = yield from SHELF(
        stock=stock.name, tenant=tenant, ttl=stock.fresh_for, hold=HOLD, most=counted_up_to(stock, level)
    )
    return shelf


def _ordered(
    stock: StockDeclaration, tenant: str, call: NewJob, refill: Refill, now: int, ordering: Ordering
) -> QuerySteps[OrderReply]:
    if not refill.orders:
        return OrderReply([], goes_on=refill.goes_on)
    # By the store's clock, whatever this machine's clock shows.
    fresh = [ids.moved_to(job, now) for job in ids.new_ids(refill.orders)]
    jobs, refusal = yield from _admitted([msgspec.structs.replace(call, id=job) for job in fresh], ordering)
    if jobs:
        yield from put_in(stock.name, tenant, [(job, SHELF_KEY) for job in jobs], ordering)
    return OrderReply([job.id for job in jobs], refusal, refill.goes_on or len(jobs) < refill.orders)


def _admitted(
    jobs: Sequence[NewJob], ordering: Ordering
) -> QuerySteps[tuple[Sequence[NewJob], QueueClosed | QueueFull | None]]:
    """Return the jobs for which their queue has room, and why it has none for the others."""
    try:
        check_open(jobs, ordering.closed)
        yield from check_room(jobs, ordering.gauges)
    except QueueClosed as refusal:
        return [], refusal
    except QueueFull as refusal:
        return jobs[: max(0, refusal.max_depth - refusal.depth)], refusal
    return jobs, None


def put_in(
    stock: str, tenant: str, orders: Sequence[tuple[NewJob, str]], ordering: Ordering
) -> QuerySteps[Sequence[NewJob]]:
    """Enqueue jobs as orders, each with its key; return them, without those whose key has an order already."""
    noted = yield from PUT_ORDERS([(job.id, key) for job, key in orders], stock=stock, tenant=tenant)
    new = {job for (job,) in noted}
    jobs = [job for job, _ in orders if job.id in new]
    if jobs:
        yield from enqueue(jobs, ordering.lanes, packing=ordering.packing, told=ordering.told).start()
        yield query_rows("await_orders", [(job.id,) for job in jobs])
    return jobs


# ── taking ───────────────────────────────────────────────────────────────────────────────────────────


@creating_no_work
@unrepeatable_operation
def take_from_shelf(
    stock: StockDeclaration, tenant: str, count: int, *, mark: int = 0
) -> QuerySteps[list[TakenResult]]:
    """Take the oldest results from a shelf; fewer, or none, if it does not have so many.

    mark: results that were put there before are passed over. It must not run again after a commit whose reply was lost:
    what that took is lost, but no other caller gets it.
    """
    rows = yield from TAKE_STOCK(stock=stock.name, tenant=tenant, ttl=stock.fresh_for, count=count, mark=mark)
    return sorted((TakenResult(*row) for row in rows), key=lambda row: (row.made_at, row.job))


# ── tidying ──────────────────────────────────────────────────────────────────────────────────────────


@creating_no_work
@operation
def tidy_shelf(stock: StockDeclaration, tenant: str, *, limit: int = TIDIED_AT_ONCE) -> QuerySteps[Tidied]:
    """Remove and count what was taken and what is stale, and let jobs without a result leave their places."""
    taken = yield from _removed(stock.name, tenant, "taken", -1, limit)
    expired = yield from _removed(stock.name, tenant, "made", stock.fresh_for, limit)
    held = yield from _removed(stock.name, tenant, "failed", HOLD, limit)
    yield from tally(stock.name, taken=taken, expired=expired)
    return Tidied(taken, expired, limit in (taken, expired, held))


@creating_no_work
@operation
def empty_shelf(stock: str, tenant: str, *, limit: int = TIDIED_AT_ONCE) -> QuerySteps[int]:
    """Remove results from a shelf; return how many. What is ordered still comes."""
    emptied = yield from _removed(stock, tenant, "made", -1, limit)
    yield from _removed(stock, tenant, "failed", -1, limit)
    yield from tally(stock, emptied=emptied)
    return emptied


@creating_no_work
@operation
def note_counted(stock: str, counts: Mapping[str, int]) -> QuerySteps[None]:
    """Write what a process counted: callers who found nothing, who had to wait, who read a result by key."""
    yield from tally(stock, **counts)


def _removed(stock: str, tenant: str, state: str, span: int, limit: int) -> QuerySteps[int]:
    # A span of -1 is all of them, also those of this very microsecond.
    return len((yield from TIDY_SHELF(stock=stock, tenant=tenant, state=state, span=span, limit=limit)))


def tally(stock: str, **happened: int) -> QuerySteps[None]:
    """Count what happened at a stock, as a part of the operation that brings it about."""
    rows = [("", stock, "", tally_of_stock(name), count, 0, "{}") for name, count in happened.items() if count]
    if rows:
        yield query_rows("add_tallies", rows, source=f"stock/{uuid4().hex[:16]}")
