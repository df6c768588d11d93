"""Walks: attempts at a long job in a simulated world, with the project's own loop, journal and fence, slice by slice.

A slice writes a row for each of its items: in one commit with the cursor, or before it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import cast

from posthorse.errors import Interrupted, OutcomeUnknown, StoreUnreachable
from posthorse.rules.job import Lane, Options
from posthorse.rules.outcomes import Lost, Outcome, Returned, Stopped
from posthorse.rules.registry import KindOptions, register
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.fence import Fence
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.about_job import AboutJob
from posthorse.worker.checkpoints.batch import Batch
from posthorse.worker.checkpoints.context import Context
from posthorse.worker.checkpoints.journal import Journal
from tests.faults.simulation.kinds import ITEMS, SLICE
from tests.faults.simulation.world import WorldStore, at_once

MAX_WALK = 10.0
LANE = Lane("default", "walk")
"""The lane in reports about its jobs; no listener receives them."""


def walk() -> None: ...


WALK = register(walk, kind="walk", options=KindOptions(), context_type=Context)


class Walk:
    """One attempt at a long job."""

    def __init__(self, store: WorldStore, claimed: Claimed, runner: str, *, in_transactions: bool) -> None:
        self.stop = StopSignal()
        self._store = store
        self._attempt = Fence(claimed.job, claimed.epoch, runner)
        self._in_transactions = in_transactions
        self._journal = Journal(store, self._attempt, self.stop, lane=LANE, longest_transaction=MAX_WALK)
        at_once(self._journal.load())
        self._context = Context(self._journal, AboutJob(claimed.job, claimed.errors + 1, LANE, Options(), WALK))
        self._batches: Iterator[Batch[int]] = iter(self._context.slices(range(ITEMS), size=SLICE))

    @property
    def done(self) -> int:
        """How far it believes to be."""
        return self._context.progress.done

    def go_on(self) -> Outcome | None:
        """Do the next slice; return the outcome if the attempt is over. A lost lease leaves nothing of the slice."""
        try:
            batch = next(self._batches)  # this commits the slice before
            if self._in_transactions:
                with batch.transaction() as connection:
                    self._write(cast("sqlite3.Connection", connection), batch)
            else:
                self._write(self._store.connection, batch)
        except StopIteration:
            return Returned('"through"')
        except Interrupted:
            return Stopped(self.stop.request or "shutdown")
        except (StoreUnreachable, OutcomeUnknown) as error:
            return Lost(str(error))
        return None

    def save(self) -> Outcome | None:
        """Report progress in the middle of a slice."""
        try:
            self._context.checkpoint()
        except Interrupted:
            return Stopped(self.stop.request or "shutdown")
        except (StoreUnreachable, OutcomeUnknown) as error:
            return Lost(str(error))
        return None

    def _write(self, connection: sqlite3.Connection, items: Batch[int]) -> None:
        rows = [(self._attempt.job, item, self._attempt.epoch) for item in items]
        connection.executemany("INSERT INTO effects (job, item, epoch) VALUES (?, ?, ?)", rows)
