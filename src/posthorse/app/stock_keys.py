"""Stocks by key: results that are computed ahead and read by any number of callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec

from posthorse import ids
from posthorse.app.job import Job
from posthorse.app.stock_base import StockHandle, tenant_in
from posthorse.app.verbs import Verb, commit, look_up, sleep, twin, verb, wait_for_end
from posthorse.clock import monotonic
from posthorse.errors import QueueClosed, QueueFull, StockEmpty
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import NewJob
from posthorse.rules.stock import HOLD, StockDeclaration, key_text, of_tenant
from posthorse.store.operations.stock import TIDIED_AT_ONCE
from posthorse.store.operations.stock_keys import (
    KEYS_AT_ONCE,
    KeptRow,
    asked_keys,
    drop_key,
    empty_keys,
    kept,
    mark_asked,
    order_keys,
)

if TYPE_CHECKING:
    from posthorse.app.call import Call
    from posthorse.app.client import Posthorse

K = TypeVar("K")
R = TypeVar("R")

MAX_WAIT = 0.5
"""Seconds for which a caller waits for a job before it looks again."""


class KeyedStock(StockHandle[R], Generic[K, R]):
    """Results by key, made ahead or at the first call, and kept fresh: `prices = app.stock(price, key="symbol")`.

    Each method has a twin with an `a` in front, to be awaited.
    """

    def __init__(self, app: Posthorse, declared: StockDeclaration, bind: Callable[[K], Call[R]]) -> None:
        super().__init__(app, declared)
        self._bind = bind

    @verb
    def get(self, key: K, /, *, timeout: Duration = 0, tenant: str | None = None) -> Verb[R]:
        """Return the result for a key, as often as you like.

        A result that is older than the `ttl` of the stock is returned for `stale` longer; the first caller who meets it
        orders a new one. If there is none at all, one is ordered, once, however many callers ask. Inside a
        transaction nothing is ordered.

        timeout: for how long to wait for a result that is not there. Raises StockEmpty if none came, InvalidArgument
        for a key that does not fit its parameter.
        """
        owner = tenant_in(tenant)
        call = of_tenant(self._bind(key).template, owner)
        text = key_text(call.arguments, is_secret=self._app.registry.packing.is_on)
        deadline = monotonic() + as_timedelta(timeout, name="timeout").total_seconds()
        has_waited = False
        while True:
            rows = yield from look_up(self._app, kept(self.name, owner, text))
            found = _newest(rows, self._declared.kept_for)
            if found is not None:
                yield from self._note_read(found, call, text, owner)
                yield from self._count(taken=1, waited=int(has_waited))
                return cast("R", self._value(found.job, found.result, found.options))
            yield from self._wait(call, text, owner, rows, deadline)
            has_waited = True

    aget = twin(get)

    @verb
    def refresh(self, key: K, /, *, tenant: str | None = None) -> Verb[Job[R] | None]:
        """Order a new result for a key, and return its job; None if one is ordered already.

        The earlier result stays until the new one replaces it. Raises QueueClosed, QueueFull, InvalidArgument.
        """
        owner = tenant_in(tenant)
        call = of_tenant(self._bind(key).template, owner)
        text = key_text(call.arguments, is_secret=self._app.registry.packing.is_on)
        ordered = yield from self._order([(call, text)], owner)
        return Job(self._app, ordered[0], True, kind=call.lane.kind) if ordered else None

    arefresh = twin(refresh)

    @verb
    def forget(self, key: K, /, *, tenant: str | None = None) -> Verb[bool]:
        """Remove the result for a key, because it is wrong now; False if there is none. What is ordered still comes."""
        owner = tenant_in(tenant)
        call = of_tenant(self._bind(key).template, owner)
        text = key_text(call.arguments, is_secret=self._app.registry.packing.is_on)
        return (yield from commit(self._app, drop_key(self.name, owner, text)))

    aforget = twin(forget)

    @verb
    def refill(self, *, tenant: str | None = None) -> Verb[int]:
        """Order new results for all keys whose results were read since they were made; return how many were ordered.

        The schedule of the stock does so by itself. Keys for which no caller asks any more are left to expire. Raises
        QueueClosed, QueueFull.
        """
        return self._refill(tenant_in(tenant))

    arefill = twin(refill)

    @verb
    def empty(self, *, tenant: str | None = None) -> Verb[int]:
        """Throw all results away; return how many. What is ordered still comes."""
        thrown = 0
        while True:
            gone = yield from commit(self._app, empty_keys(self.name, tenant_in(tenant)))
            thrown += gone
            if gone < TIDIED_AT_ONCE:
                return thrown

    aempty = twin(empty)

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────

    def _note_read(self, found: KeptRow, call: NewJob, text: str, owner: str) -> Verb[None]:
        """Note that a caller wants this result, once; order a new one if it is stale."""
        if self._app.store.is_in_transaction:  # others would wait for its end
            return
        if not found.asked:
            yield from commit(self._app, mark_asked(found.job))
        if found.now - found.since >= self._declared.fresh_for:
            try:
                yield from self._order([(call, text)], owner)
            except (QueueClosed, QueueFull):
                return  # there is a result; a later caller orders

    def _wait(self, call: NewJob, text: str, owner: str, rows: Sequence[KeptRow], deadline: float) -> Verb[None]:
        """Order a result, unless one is ordered, and wait for it. Raises StockEmpty."""
        dead = next((row for row in rows if row.state == "failed" and row.now - row.since < HOLD), None)
        ordered = [row.job for row in rows if row.state == "ordered"]
        # The order of an open transaction would keep all others waiting who order the same key.
        if not ordered and dead is None and not self._app.store.is_in_transaction:
            ordered = yield from self._order([(call, text)], owner)
            if not ordered:  # another caller was faster
                rows = yield from look_up(self._app, kept(self.name, owner, text))
                ordered = [row.job for row in rows if row.state == "ordered"]
        left = deadline - monotonic()
        if left <= 0 or dead is not None or self._app.store.is_in_transaction:
            yield from self._count(missed=1)
            detail = "" if dead is None else f"job {dead.job}, which should have made it, ended without a result"
            raise StockEmpty(self.name, tenant=owner or None, ordered=len(ordered), detail=detail)
        if ordered:
            yield from wait_for_end(self._app, ordered, min(left, MAX_WAIT))
        else:
            yield from sleep(min(left, 0.02))  # it was made at this moment

    def _order(self, calls: Sequence[tuple[NewJob, str]], owner: str) -> Verb[list[str]]:
        placed, ordering = yield from self._ordering(calls[0][0])
        new = [
            (msgspec.structs.replace(call, id=job, lane=placed.lane), text)
            for (call, text), job in zip(calls, ids.new_ids(len(calls)), strict=True)
        ]
        ordered = yield from commit(self._app, order_keys(self._declared, owner, new, ordering))
        if ordered and self._app.interception is not None:
            yield from self._app.interception.after_enqueue()
        return ordered

    def _refill(self, owner: str) -> Verb[int]:
        packing, count, after = self._app.registry.packing, 0, ""
        while True:
            asked = yield from look_up(self._app, asked_keys(self.name, owner, after=after))
            if not asked:
                return count
            after = asked[-1].key
            calls: list[tuple[NewJob, str]] = []
            for row in asked:
                arguments = packing.of_stored(row.job, row.options).unpack(row.arguments, "arguments")
                call = msgspec.structs.replace(self._declared.call, arguments=arguments)
                calls.append((of_tenant(call, owner), row.key))
            count += len((yield from self._order(calls, owner)))
            if len(asked) < KEYS_AT_ONCE:
                return count


def _newest(rows: Sequence[KeptRow], kept_for: int) -> KeptRow | None:
    """Return the result that may be given; None if there is none, or it is too old."""
    made = [row for row in rows if row.state == "made" and row.now - row.since < kept_for]
    return max(made, key=lambda row: row.since, default=None)
