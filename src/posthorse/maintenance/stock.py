"""The stock keeper orders what the shelves lack that this code declares. Every process with a worker has one.

There is no leader: each looks, and orders under the lock of the shelf, where an order counts as if its result were
there. So however many processes look, no more is ordered than a shelf lacks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from posthorse.clock import SECOND, monotonic
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.base import REST, ChorePace
from posthorse.maintenance.turns import take_turns
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.stock import StockDeclaration, refill_of
from posthorse.store.admission import Admission
from posthorse.store.operations.stock import Ordering, StockRow, attend, order_results, shelf_of, stocks, tidy_shelf
from posthorse.store.operations.stock_keys import tidy_keys
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

SEE_INTERVAL = 60 * SECOND
"""Microseconds after which it is written again that a worker attends to a stock."""

WHEN_FAILED = 5.0
"""Seconds until the next look after one that failed."""

SOON = 0.02
"""Seconds until the next look if a shelf lacks more than one commit orders."""


class StockKeeper:
    """Attend to the stocks that this code declares."""

    def __init__(
        self, store: Store, declared: Mapping[str, StockDeclaration], queues: DeclaredQueues, packing: Packing = PLAIN
    ) -> None:
        self._store = store
        self._declared = declared
        self._packing = packing
        self._admission = Admission(store, queues)
        self._interval = store.tuning.stock_interval
        self._throttle = ChorePace()
        self._entered: set[str] = set()
        self._refused: set[tuple[str, str]] = set()
        self._tidied_at: dict[tuple[str, str], float] = {}

    async def run_forever(self) -> None:
        """Run until cancelled."""
        await take_turns(self.turn, "stocks", when_failed=WHEN_FAILED)

    async def turn(self) -> float:
        """Order what is lacking, and remove what is stale; return the seconds until the next turn."""
        if not self._declared:
            return WHEN_FAILED
        with self._throttle.turn():
            is_behind = False
            for row in await self._rows():
                is_behind = await self._attend_safely(self._declared[row.name], row) or is_behind
        # A look counts what a shelf holds, so looks at large shelves are rarer.
        return SOON if is_behind else max(SOON, self._throttle.due_in(self._interval, rest=REST))

    async def _rows(self) -> list[StockRow]:
        """Return the stocks that this code declares, as stored; enter them first if they are not, or have changed."""
        rows = [row for row in await self._store.aread(stocks()) if row.name in self._declared]
        seen = {row.name: row for row in rows if row.tenant == ""}
        unseen = [
            one for name, one in self._declared.items() if name not in self._entered or _must_be_seen(seen.get(name))
        ]
        if unseen:
            self._entered |= {one.name for one in unseen}
            await self._store.arun(attend(unseen))
            rows = [row for row in await self._store.aread(stocks()) if row.name in self._declared]
        return rows

    async def _attend_safely(self, stock: StockDeclaration, row: StockRow) -> bool:
        """Attend to one stock; if that fails, the others go on. Return whether it lacks more."""
        try:
            return await (self._attend(stock, row) if stock.key is None else self._tidy_keys(stock, row.tenant))
        except PosthorseError as error:
            log.error("cannot look after stock %s: %s", stock.name, error)
        except Exception:
            log.exception("cannot look after stock %s", stock.name)
        return False

    async def _attend(self, stock: StockDeclaration, row: StockRow) -> bool:
        shelf = await self._store.aread(shelf_of(stock, row.tenant, row.level))
        if shelf.left_over and self._is_to_be_tidied(stock, row.tenant):
            failpoint("before_tidying")
            tidied = await self._store.arun(tidy_shelf(stock, row.tenant))
            if tidied.may_be_more:
                self._tidied_at.pop((stock.name, row.tenant))
        if not refill_of(stock, shelf, level=row.level, is_refilling=bool(row.refilling)).orders:
            return False
        failpoint("before_order")
        [call], gauges, closed = await self._admission.aterms([stock.for_tenant(row.tenant)])
        lanes = await self._store.alanes({call.lane})
        ordering = Ordering(lanes, gauges, closed, self._packing, self._store.watched.submitted)
        ordered = await self._store.arun(order_results(stock, row.tenant, call, ordering))
        failpoint("after_order")
        if ordered.refusal is None:
            self._refused.discard((stock.name, row.tenant))
        elif (stock.name, row.tenant) not in self._refused:
            self._refused.add((stock.name, row.tenant))
            log.warning("stock %s: its queue refuses orders, so it is not refilled: %s", stock.name, ordered.refusal)
        # With a batch it goes on when some are made.
        return ordered.goes_on and bool(ordered.jobs) and ordered.refusal is None and stock.batch is None

    async def _tidy_keys(self, stock: StockDeclaration, tenant: str) -> bool:
        if not self._is_to_be_tidied(stock, tenant):
            return False
        tidied = await self._store.arun(tidy_keys(stock, tenant))
        if tidied.may_be_more:
            self._tidied_at.pop((stock.name, tenant))
        return tidied.may_be_more

    def _is_to_be_tidied(self, stock: StockDeclaration, tenant: str) -> bool:
        """Return True now and then: what is taken or stale is out of everybody's way, and is counted late at most."""
        now, shelf = monotonic(), (stock.name, tenant)
        last = self._tidied_at.get(shelf)
        if last is not None and now - last < self._store.tuning.stock_tidy_interval:
            return False
        self._tidied_at[shelf] = now
        return True


def _must_be_seen(row: StockRow | None) -> bool:
    return row is None or abs(row.now - row.seen_at) > SEE_INTERVAL
