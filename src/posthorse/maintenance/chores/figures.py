"""Tend figures: sample how deep queues are, fold tallies into longer spans, and let old figures leave."""

from __future__ import annotations

from posthorse.clock import SECOND, monotonic
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.store.operations.runners import NextDue
from posthorse.store.operations.tallies import (
    DAY,
    HOUR,
    MINUTE,
    WRITTEN,
    Fold,
    depths_now,
    fold_tallies,
    folds_due,
    forget_figures,
    note_depths,
    thin_depths,
)
from posthorse.store.store import Store

MOST = 10_000
"""Jobs up to which a depth is counted."""

FOLDED_AT_ONCE = 10_000
"""Tallies that one commit folds."""

FORGET_INTERVAL = 3_600.0


class SampleDepths(Chore):
    """Due every fifteen seconds. A queue that stays empty has no samples beyond the first."""

    name = "sample how deep queues are"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._interval = store.tuning.depths_interval
        self._throttle = ChorePace()
        self._filled: frozenset[str] = frozenset()

    def due_in(self, look: NextDue | None) -> float:
        return self._throttle.due_in(self._interval)

    async def run(self, look: NextDue | None) -> NextDue | None:
        with self._throttle.turn():
            found = await self._store.aread(depths_now(MOST))
            filled = frozenset(queue for queue, depth in found.items() if any(depth[2:8]))
            if noted := [found[queue] for queue in sorted(filled | self._filled) if queue in found]:
                await self._store.arun(note_depths(noted))
            self._filled = filled
        return look


class FoldFigures(Chore):
    """Due every ten seconds, and sooner while there is much to fold."""

    name = "fold figures"

    def __init__(self, store: Store) -> None:
        self._store = store
        tuning = store.tuning
        self._interval = tuning.fold_interval
        self._folds = (
            Fold(WRITTEN, MINUTE, round(tuning.keep_written * SECOND)),
            Fold(MINUTE, HOUR, round(tuning.keep_minutes * SECOND)),
            Fold(HOUR, DAY, round(tuning.keep_hours * SECOND)),
        )
        self._keep = round(tuning.keep_days * SECOND)
        self._keep_depths = round(tuning.keep_minutes * SECOND)
        self._throttle = ChorePace()
        self._has_more = False
        self._forgets_at = 0.0
        self._thinned_until = 0

    def due_in(self, look: NextDue | None) -> float:
        return self._throttle.due_in(0.0 if self._has_more else self._interval)

    async def run(self, look: NextDue | None) -> NextDue | None:
        self._has_more = False
        with self._throttle.turn():
            self._has_more = await self._fold()
            if look is not None:
                await self._forget(look)
        return look

    async def _fold(self) -> bool:
        """Fold what is due; return True if there was any, because there may be more."""
        due = await self._store.aread(folds_due(self._folds))
        for fold in due:
            failpoint("before_fold")
            await self._store.arun(fold_tallies(fold, limit=FOLDED_AT_ONCE))
            failpoint("after_fold")
        return bool(due)

    async def _forget(self, look: NextDue) -> None:
        if monotonic() >= self._forgets_at:
            self._forgets_at = monotonic() + FORGET_INTERVAL
            await self._store.arun(forget_figures(before=look.now - self._keep))
            until = look.now - self._keep_depths
            await self._store.arun(thin_depths(self._thinned_until, until))
            self._thinned_until = until

    def clock_was_set(self) -> None:
        self._thinned_until = 0
