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

    def add(self, store: Callable[[], object], count: int, *, is_noted: bool) -> None:
        """Let so many children be stored, as a part of the transaction if one is open.

        Raises Interrupted if the lease is lost. is_noted: a step that notes them is stored with them.
        """
        self._journal.begin_commit(None)
        try:
            store()
        except LeaseEnded:
            raise self._lost() from None
        self._take(count, is_noted)

    async def aadd(self, store: Callable[[], Awaitable[object]], count: int, *, is_noted: bool) -> None:
        """Do the same as `add`, in a coroutine."""
        if self._journal.is_called_in_transaction:  # which holds the turn
            await self._aadd(store, count, is_noted)
        else:
            async with self._journal.turn:
                await self._aadd(store, count, is_noted)

    def begin(self) -> None:
        """Begin the commit that stores children: until it has succeeded, it is not known whether they are stored.

        An error that is raised before, such as that of a middleware, leaves no doubt.
        """
        self._journal.be_doubtful(True)
        failpoint("before_add_commit")

    def noted(self, steps: Sequence[StepRow]) -> Noted:
        """Return what the commit that stores children saves beside them."""
        journal = self._journal
        journal.state.forgive()
        packed = [step._replace(value=journal.texts.pack(step.value, "step")) for step in steps]
        return Noted(journal.state.encode(None, journal.texts), packed)

    async def _aadd(self, store: Callable[[], Awaitable[object]], count: int, is_noted: bool) -> None:
        self._journal.begin_commit(None)
        try:
            await store()
        except LeaseEnded:
            raise self._lost() from None
        self._take(count, is_noted)

    def _take(self, count: int, is_noted: bool) -> None:
        self._journal.be_doubtful(False)
        self._journal.children += count
        self._journal.steps_kept += is_noted
        failpoint("after_add_commit")

    def _lost(self) -> Interrupted:
        self._journal.stop.ask("lost")
        return Interrupted(LOST)
