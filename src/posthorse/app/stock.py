"""Stocks as users hold them: results that are made ahead, and taken when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from posthorse.app.stock_base import StockHandle, tenant_in
from posthorse.app.verbs import Verb, adrive, commit, drive, look_up, sleep, twin, verb, wait_for_end
from posthorse.clock import monotonic
from posthorse.errors import StockEmpty
from posthorse.failpoints import failpoint
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.stock import checked_count, checked_level
from posthorse.store.blocking import refuse_in_loop, warn_in_loop
from posthorse.store.operations.stock import (
    TIDIED_AT_ONCE,
    TakenResult,
    empty_shelf,
    open_orders,
    order_results,
    set_level,
    take_from_shelf,
)

if TYPE_CHECKING:
    from posthorse.store.connections import UserConnection

R = TypeVar("R")

MARK_LASTS = 1.0
"""Seconds after which a taker looks at a shelf from its beginning again: a transaction that took from there may have
been rolled back."""

MAX_WAIT = 0.5
"""Seconds for which a caller waits for the jobs that were ordered before it looks again: another may be faster."""

MIN_WAIT = 0.02
"""Seconds after which a caller looks again first, if nothing is ordered; twice as many each time, up to MAX_WAIT."""


class Stock(StockHandle[R], Generic[R]):
    """A shelf of results that are made ahead: `tickets = app.stock(make_ticket.bind(), level=200)`.

    Workers keep it filled; `take` hands out each result once. Each method has a twin with an `a` in front, to be
    awaited.
    """

    def take(self, *, timeout: Duration = 0, connection: UserConnection | None = None, tenant: str | None = None) -> R:
        """Take the oldest result from the shelf. No other caller gets the same.

        timeout: for how long to wait for a result while the shelf is empty; what it lacks is ordered at once.
        connection: a connection of your own, inside a transaction: the result is yours if and only if that commits. If
            it is rolled back, the result is on the shelf again.
        tenant: take from the shelf of this tenant.

        Raises StockEmpty; OutcomeUnknown if the reply of the store was lost: no caller gets the result then. Inside a
        transaction on SQLite it does not wait, because nothing could be made meanwhile.
        """
        return self._one(self._drive(self._take(1, timeout, tenant), "take", timeout, connection))

    async def atake(
        self, *, timeout: Duration = 0, connection: UserConnection | None = None, tenant: str | None = None
    ) -> R:
        """Take the oldest result from the shelf, for a coroutine; see `take`. The connection may be sync or async."""
        return self._one(await self._adrive(self._take(1, timeout, tenant), connection))

    def take_many(
        self,
        count: int,
        *,
        timeout: Duration = 0,
        connection: UserConnection | None = None,
        tenant: str | None = None,
    ) -> list[R]:
        """Take up to so many results in one commit, the oldest first; see `take`.

        It returns what the shelf has, and raises StockEmpty if that is nothing.
        """
        return self._drive(self._take(checked_count(count), timeout, tenant), "take_many", timeout, connection)

    async def atake_many(
        self,
        count: int,
        *,
        timeout: Duration = 0,
        connection: UserConnection | None = None,
        tenant: str | None = None,
    ) -> list[R]:
        """Take up to so many results, for a coroutine; see `take_many`."""
        return await self._adrive(self._take(checked_count(count), timeout, tenant), connection)

    @verb
    def refill(self, *, tenant: str | None = None) -> Verb[int]:
        """Order what the shelf lacks to its level, also if it is not low; return how many jobs were ordered.

        Workers do so by themselves when it has fewer than `refill_at`. Raises QueueClosed, QueueFull if the queue takes
        none of them.
        """
        return self._fill(tenant_in(tenant))

    arefill = twin(refill)

    @verb
    def empty(self, *, tenant: str | None = None) -> Verb[int]:
        """Throw away what is on the shelf; return how many results. What is ordered still comes, and workers refill."""
        thrown = 0
        while True:
            gone = yield from commit(self._app, empty_shelf(self.name, tenant_in(tenant)))
            thrown += gone
            if gone < TIDIED_AT_ONCE:
                return thrown

    aempty = twin(empty)

    @verb
    def set_level(self, level: int | None, *, tenant: str | None = None) -> Verb[None]:
        """Change the level in the running system, until `set_level(None)`: it wins over the code, also after deploys.

        With 0 nothing is ordered any more. Raises InvalidOption.
        """
        wanted = None if level is None else checked_level(level)
        yield from commit(self._app, set_level(self._declared, tenant_in(tenant), wanted))

    aset_level = twin(set_level)

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────

    def _drive(self, steps: Verb[list[R]], name: str, timeout: Duration, connection: UserConnection | None) -> list[R]:
        call, instead = f"{name}()", f"use `await ….a{name}()`"
        if as_timedelta(timeout, name="timeout"):
            refuse_in_loop(call, instead)
        if connection is None or self._app.interception is not None:  # a test has its own store
            warn_in_loop(self._app.store, call, instead)
            return drive(steps)
        with self._app.store.joining(connection):
            return drive(steps)

    async def _adrive(self, steps: Verb[list[R]], connection: UserConnection | None) -> list[R]:
        if connection is None or self._app.interception is not None:
            return await adrive(steps)
        async with self._app.store.ajoining(connection):
            return await adrive(steps)

    def _one(self, values: Sequence[R]) -> R:
        [value] = values
        return value

    def _take(self, count: int, timeout: Duration, tenant: str | None) -> Verb[list[R]]:
        owner = tenant_in(tenant)
        deadline = monotonic() + as_timedelta(timeout, name="timeout").total_seconds()
        has_waited, pause = False, MIN_WAIT
        while True:
            rows = yield from self._taken(count, owner)
            if rows:
                yield from self._count(waited=int(has_waited))
                return [cast("R", self._value(row.job, row.result, row.options)) for row in rows]
            ordered: Sequence[str] = ()
            if not self._app.store.is_in_transaction:
                yield from self._fill_if_low(owner)
                ordered = yield from look_up(self._app, open_orders(self.name, owner))
                if self._app.interception is not None and not ordered and not has_waited:
                    has_waited = True
                    continue  # a test runs jobs inline, so what was ordered is there
            left = deadline - monotonic()
            if left <= 0 or not self._may_wait():
                yield from self._count(missed=1)
                raise StockEmpty(self.name, tenant=tenant, ordered=len(ordered))
            has_waited = True
            yield from self._wait(ordered, min(left, MAX_WAIT if ordered else pause))
            pause = MIN_WAIT if ordered else min(2 * pause, MAX_WAIT)

    def _may_wait(self) -> bool:
        """Return whether anything can be made meanwhile: a transaction on SQLite keeps all others from writing."""
        store = self._app.store
        return not (store.is_in_transaction and store.backend.capabilities.is_file)

    def _wait(self, ordered: Sequence[str], seconds: float) -> Verb[None]:
        if ordered:
            yield from wait_for_end(self._app, ordered, seconds)
        else:
            yield from sleep(seconds)

    def _taken(self, count: int, owner: str) -> Verb[list[TakenResult]]:
        """Take from the shelf, first from where this process took last: PostgreSQL would walk over what is gone."""
        mark, lasts_until = self._marks.get(owner, (0, 0.0))
        if monotonic() >= lasts_until:
            mark, lasts_until = 0, monotonic() + MARK_LASTS
        failpoint("before_take")
        rows = yield from commit(self._app, take_from_shelf(self._declared, owner, count, mark=mark))
        if not rows and mark:
            lasts_until = monotonic() + MARK_LASTS
            rows = yield from commit(self._app, take_from_shelf(self._declared, owner, count))
        failpoint("after_take")
        if rows:
            self._marks[owner] = (rows[-1].made_at, lasts_until)
        else:
            self._marks.pop(owner, None)
        return rows

    def _fill_if_low(self, owner: str) -> Verb[None]:
        """Order what the shelf lacks, because it is empty. What its queue refuses is ordered later, by workers."""
        call, ordering = yield from self._ordering(self._declared.for_tenant(owner))
        yield from commit(self._app, order_results(self._declared, owner, call, ordering))
        yield from self._after_enqueue()

    def _fill(self, owner: str) -> Verb[int]:
        count = 0
        call, ordering = yield from self._ordering(self._declared.for_tenant(owner))
        while True:
            made = yield from commit(self._app, order_results(self._declared, owner, call, ordering, to_level=True))
            count += len(made.jobs)
            if made.refusal is not None and not count:
                raise made.refusal
            if not (made.jobs and made.goes_on) or made.refusal is not None or self._declared.batch is not None:
                yield from self._after_enqueue()
                return count

    def _after_enqueue(self) -> Verb[None]:
        if self._app.interception is not None:
            yield from self._app.interception.after_enqueue()
