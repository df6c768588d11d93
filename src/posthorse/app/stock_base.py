"""What both sorts of stocks have: their declaration, how results are read, what is counted, and why one is empty."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from posthorse.app.stock_reading import status_of, why_empty
from posthorse.app.verbs import Verb, commit, step, twin, verb
from posthorse.clock import monotonic
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.stock import StockDeclaration, StockStatus
from posthorse.rules.values.results import decode_result
from posthorse.store.operations.stock import Ordering, note_counted

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

R = TypeVar("R")

COUNT_INTERVAL = 10.0
"""Seconds after which a process writes how often its callers missed, waited, or read by key."""


class StockHandle(Generic[R]):
    """A stock of an application."""

    def __init__(self, app: Posthorse, declared: StockDeclaration) -> None:
        self._app = app
        self._declared = declared
        self._marks: dict[str, tuple[int, float]] = {}
        """For each tenant: when the last result was made that this process took, and until when that counts."""
        self._counting = threading.Lock()
        self._counts: dict[str, int] = {}
        self._counted_at = -COUNT_INTERVAL

    @property
    def name(self) -> str:
        """Its name in the store and on the command line."""
        return self._declared.name

    @verb
    def status(self, *, tenant: str | None = None) -> Verb[StockStatus]:
        """Read what it holds, what is ordered, and how often callers got something within the last day.

        Processes write what they counted every ten seconds, if they use the stock then. Raises StoreError.
        """
        return status_of(self._app, self._declared, tenant_in(tenant))

    astatus = twin(status)

    @verb
    def why(self, *, tenant: str | None = None) -> Verb[str]:
        """Say why the stock has nothing, or less than it should: what is ordered, and why that is not made yet."""
        return why_empty(self._app, self._declared, tenant_in(tenant))

    awhy = twin(why)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _value(self, job: str, result: str | None, options: str | None) -> object:
        registry, kind = self._app.registry, self._declared.call.lane.kind
        result_type: object = registry[kind].signature.result_type if kind in registry else object
        text = registry.packing.of_stored(job, options).unpack(result or "null", "result")
        return decode_result(text, result_type)

    def _ordering(self, call: NewJob) -> Verb[tuple[NewJob, Ordering]]:
        """Return a job as its queue wants it, and what an order needs to know."""
        app = self._app
        [placed], gauges, closed = yield from step(app.gate.terms, app.gate.aterms, [call])
        lanes = yield from step(app.store.lanes, app.store.alanes, {placed.lane})
        return placed, Ordering(lanes, gauges, closed, app.registry.packing, app.store.watched.submitted)

    def _count(self, **happened: int) -> Verb[None]:
        """Count in memory; write now and then, and never in a transaction of the caller's, which may be rolled back."""
        with self._counting:
            for name, count in happened.items():
                if count:
                    self._counts[name] = self._counts.get(name, 0) + count
            is_due = bool(self._counts) and monotonic() - self._counted_at >= COUNT_INTERVAL
            if not is_due or self._app.store.is_in_transaction:
                return
            counts, self._counts, self._counted_at = self._counts, {}, monotonic()
        yield from commit(self._app, note_counted(self.name, counts))


def tenant_in(tenant: str | None) -> str:
    """Return a tenant as shelves are stored by it: `''` for none. Raises InvalidOption."""
    return "" if tenant is None else checked_name(tenant, what="tenant")
