"""How a stock is shown: what it holds, what is ordered, and how well it served its callers."""

from __future__ import annotations

from typing import Self

from posthorse.rules.stock import StockStatus
from posthorse.views.base import View


class StockView(View, frozen=True, kw_only=True):
    """A stock as it was at one moment; `oldest` is in seconds, and what happened is of the last day."""

    name: str
    tenant: str | None
    kind: str
    queue: str
    key: str | None
    level: int
    refill_at: int
    made: int
    stale: int
    ordered: int
    failed: int
    oldest: float | None
    is_attended: bool
    taken: int
    missed: int
    waited: int
    expired: int
    emptied: int
    hit_rate: float | None
    waste: float | None

    @classmethod
    def of(cls, status: StockStatus) -> Self:
        """Show a status."""
        return cls(
            name=status.name,
            tenant=status.tenant,
            kind=status.kind,
            queue=status.queue,
            key=status.key,
            level=status.level,
            refill_at=status.refill_at,
            made=status.made,
            stale=status.stale,
            ordered=status.ordered,
            failed=status.failed,
            oldest=None if status.oldest is None else status.oldest.total_seconds(),
            is_attended=status.is_attended,
            taken=status.taken,
            missed=status.missed,
            waited=status.waited,
            expired=status.expired,
            emptied=status.emptied,
            hit_rate=status.hit_rate,
            waste=status.waste,
        )
