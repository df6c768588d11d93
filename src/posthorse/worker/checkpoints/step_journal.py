"""The part of a journal that saves the steps of a job, notes when its waits end, and looks for events sent to it."""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.failpoints import failpoint
from posthorse.rules.topics import Topic
from posthorse.store.base import Operation
from posthorse.store.operations.checkpoints import Saved, checkpoint
from posthorse.store.operations.signals import Heard, heard
from posthorse.store.operations.step_waits import BegunWait, begin_wait
from posthorse.store.operations.steps import StepRow
from posthorse.store.operations.store_facts import store_now
from posthorse.worker.checkpoints.journal import Journal


class StepJournal:
    """The steps of one attempt, as its journal saves them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def keep_steps(self, steps: Sequence[StepRow]) -> None:
        """Commit steps, with the state but without a slice. Raises Interrupted if the lease is lost, CodecError."""
        self._journal.begin_commit(None)
        failpoint("before_step_commit")
        self._journal.take_reply(self._journal.run(self._keeping_steps(steps)), None)
        self._journal.steps_kept += len(steps)
        failpoint("after_step_commit")

    async def akeep_steps(self, steps: Sequence[StepRow]) -> None:
        """Do the same as `keep_steps`, in a coroutine."""
        async with self._journal.turn:
            self._journal.begin_commit(None)
            failpoint("before_step_commit")
            self._journal.take_reply(await self._journal.arun(self._keeping_steps(steps)), None)
            self._journal.steps_kept += len(steps)
            failpoint("after_step_commit")

    def begin_wait(self, name: str, form: str, span: int, steps: Sequence[StepRow]) -> tuple[StepRow, int]:
        """Commit the step that notes the end of a wait of so many microseconds, and others that come before it; return
        it, and the store's clock.
        """
        self._journal.begin_commit(None)
        return self._take_wait(self._journal.run(self._beginning_wait(name, form, span, steps)))

    async def abegin_wait(self, name: str, form: str, span: int, steps: Sequence[StepRow]) -> tuple[StepRow, int]:
        """Do the same as `begin_wait`, in a coroutine."""
        async with self._journal.turn:
            self._journal.begin_commit(None)
            return self._take_wait(await self._journal.arun(self._beginning_wait(name, form, span, steps)))

    def heard(self, topic: Topic, *, is_own: bool) -> Heard:
        """Return what was sent to a topic, unpacked; `is_own`: to this job alone. Raises CodecError."""
        return self._opened(self._journal.read(heard(topic)), is_own)

    async def aheard(self, topic: Topic, *, is_own: bool) -> Heard:
        """Do the same as `heard`, in a coroutine."""
        return self._opened(await self._journal.aread(heard(topic)), is_own)

    def store_now(self) -> int:
        """Return the store's clock, in microseconds."""
        return self._journal.read(store_now())

    async def astore_now(self) -> int:
        """Do the same as `store_now`, in a coroutine."""
        return await self._journal.aread(store_now())

    def _opened(self, found: Heard, is_own: bool) -> Heard:
        if found.payload is None:
            return found
        texts = self._journal.texts if is_own else self._journal.texts.of_no_job()
        return found._replace(payload=texts.unpack(found.payload, "event"))

    def _keeping_steps(self, steps: Sequence[StepRow]) -> Operation[Saved | None]:
        self._journal.state.forgive()
        return checkpoint(
            self._journal.fence, self._journal.state.encode(None, self._journal.texts), steps=self._packed(steps)
        )

    def _packed(self, steps: Sequence[StepRow]) -> Sequence[StepRow]:
        return [step._replace(value=self._journal.texts.pack(step.value, "step")) for step in steps]

    def _beginning_wait(self, name: str, form: str, span: int, steps: Sequence[StepRow]) -> Operation[BegunWait | None]:
        self._journal.state.forgive()
        at, packed = self._journal.state.encode(None, self._journal.texts), self._packed(steps)
        return begin_wait(self._journal.fence, at, name, form, span, packed)

    def _take_wait(self, begun: BegunWait | None) -> tuple[StepRow, int]:
        self._journal.take_reply(None if begun is None else begun.saved, None)
        assert begun is not None, "else the lease is lost, and that was raised"
        self._journal.steps_kept += 1
        return begun.step, begun.now
