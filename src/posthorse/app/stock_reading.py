"""Read stocks: what they hold, what happened to them, and why one has nothing to give."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from posthorse.app.verbs import Verb, look_over, look_up
from posthorse.app.why import why_of
from posthorse.clock import SECOND
from posthorse.errors import JobNotFound
from posthorse.rules.stock import StockDeclaration, StockStatus
from posthorse.rules.why.answer import clause
from posthorse.store.operations.stock import (
    StockRow,
    failed_orders,
    open_orders,
    shelf_of,
    stock_figures,
    stocks,
)
from posthorse.store.operations.stock_keys import keys_held

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

UNATTENDED_AFTER = 180 * SECOND
"""Microseconds without a worker that attends to a stock after which it counts as unattended."""

FIGURES_OF = 86_400 * SECOND


def row_of(app: Posthorse, name: str, tenant: str) -> Verb[StockRow | None]:
    """Return a stock as stored; None if no worker has stored it."""
    rows = yield from look_up(app, stocks())
    return next((row for row in rows if (row.name, row.tenant) == (name, tenant)), None)


def status_of(app: Posthorse, stock: StockDeclaration, tenant: str) -> Verb[StockStatus]:
    """Read a stock as it is now."""
    rows = yield from look_up(app, stocks())
    own = next((row for row in rows if (row.name, row.tenant) == (stock.name, tenant)), None)
    seen_at = max((row.seen_at for row in rows if row.name == stock.name), default=0)
    level = None if own is None else own.level
    if stock.key is None:
        shelf = yield from look_up(app, shelf_of(stock, tenant, level))
        made, stale, ordered, failed, oldest, now = (
            shelf.made,
            0,
            shelf.ordered,
            shelf.failed,
            shelf.oldest,
            shelf.now,
        )
    else:
        made, stale, ordered, failed, oldest, now = yield from look_over(app, keys_held(stock, tenant))
    served = yield from look_over(app, stock_figures(stock.name, FIGURES_OF))
    return StockStatus(
        name=stock.name,
        tenant=tenant or None,
        kind=stock.call.lane.kind,
        queue=stock.call.lane.queue,
        key=stock.key,
        level=stock.level if level is None else level,
        refill_at=stock.refill_at if level is None else min(stock.refill_at, level),
        made=made,
        stale=stale,
        ordered=ordered,
        failed=failed,
        oldest=None if oldest is None else timedelta(microseconds=max(0, now - oldest)),
        is_attended=now - seen_at < UNATTENDED_AFTER,
        **served._asdict(),
        hit_rate=served.hit_rate,
        waste=served.waste,
    )


def why_empty(app: Posthorse, stock: StockDeclaration, tenant: str) -> Verb[str]:
    """Say why a stock has nothing, or less than it should."""
    status = yield from status_of(app, stock, tenant)
    said = [_what_it_holds(status)]
    open_jobs = yield from look_up(app, open_orders(stock.name, tenant, limit=1))
    if open_jobs:
        try:
            why = yield from why_of(app, open_jobs[0])
        except JobNotFound:  # it was made and taken meanwhile
            pass
        else:
            said.append(f"the oldest order, job {open_jobs[0]}: {clause(why.reasons[0].sentence)}")
    if status.failed:
        [*dead] = yield from look_up(app, failed_orders(stock.name, tenant))
        which = f", such as {dead[0]}" if dead else ""
        said.append(
            f"{status.failed:,} jobs ended without a result{which}, and hold their places for five minutes: `posthorse "
            "show` says why, `posthorse retry` tries again, and `posthorse stock empty` makes room at once"
        )
    if stock.key is None and status.made + status.ordered + status.failed < status.level:
        said += _why_not_ordered(status)
    return "; ".join(said)


def _what_it_holds(status: StockStatus) -> str:
    if status.key is not None:
        return f"{status.made:,} results are fresh, {status.stale:,} stale, {status.ordered:,} are being made"
    return f"{status.made:,} of {status.level:,} results are on the shelf, {status.ordered:,} are being made"


def _why_not_ordered(status: StockStatus) -> list[str]:
    if status.level == 0:
        return []
    if not status.is_attended:
        return [
            "no worker is there whose code declares it, so nothing is ordered: start one, `posthorse worker --app "
            "module:app`"
        ]
    if status.made + status.ordered + status.failed >= status.refill_at:
        return [f"it is refilled when it has fewer than {status.refill_at:,}"]
    return [
        "the rest is ordered within seconds, as its batch and its queue allow "
        f"(`posthorse queues` shows whether {status.queue} is drained or full)"
    ]
