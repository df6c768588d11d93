"""The part of a journal that surrounds the commits in which children of a job are stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from posthorse.errors import Interrupted
from posthorse.failpoints import failpoint
from posthorse.store.operations.children import LeaseEnded, Noted
from posthorse.store.operations.steps import StepRow
from posthorse.worker.checkpoints.journal import LOST, Journal


class ChildJournal:
    """The children of one attempt, as its journal sees them stored. Another call stores them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, store: Callable[[], object], *, is_noted: bool) -> None:
        """Let children be stored, as a part of the transaction if one is open. Raises Interrupted if the lease is lost.

        is_noted: a step that notes them is stored with them.
        """
        self._begin()
        try:
            store()
        except LeaseEnded:
            raise self._lost() from None
        self._take(is_noted)

    async def aadd(self, store: Callable[[], Awaitable[object]], *, is_noted: bool) -> None:
        """Do the same as `add`, in a coroutine."""
        if self._journal.is_called_in_transaction:  # which holds the turn
            await self._aadd(store, is_noted)
        else:
            async with self._journal.turn:
                await self._aadd(store, is_noted)

    def noted(self, steps: Sequence[StepRow]) -> Noted:
        """Return what the commit that stores children saves beside them."""
        journal = self._journal
        journal.state.forgive()
        packed = [step._replace(value=journal.texts.pack(step.value, "step")) for step in steps]
        return Noted(journal.state.encode(None, journal.texts), packed)

    async def _aadd(self, store: Callable[[], Awaitable[object]], is_noted: bool) -> None:
        self._begin()
        try:
            await store()
        except LeaseEnded:
            raise self._lost() from None
        self._take(is_noted)

    def _begin(self) -> None:
        self._journal.begin_commit(None)
        failpoint("before_add_commit")

    def _take(self, is_noted: bool) -> None:
        self._journal.has_children, self._journal.is_joined = True, False
        self._journal.steps_kept += is_noted
        failpoint("after_add_commit")

    def _lost(self) -> Interrupted:
        self._journal.stop.ask("lost")
        return Interrupted(LOST)
