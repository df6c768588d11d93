"""The settler: writes together how attempts ended that wait at the same moment, by one operation.

Each attempt gets its own answer. If the store cannot take what some of them left behind, each is written by itself, and
what it cannot take is replaced by an error that it can take.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeVar

from posthorse.failpoints import failpoint
from posthorse.rules.job import JobError
from posthorse.rules.outcomes import Outcome, Raised, Returned
from posthorse.rules.values.texts import message_of
from posthorse.store.operations.finish import settle_all
from posthorse.store.operations.job_logs import LogChanges, after_logs
from posthorse.store.store import Store
from posthorse.worker.running.deciding import Decided
from posthorse.worker.running.job_logs import NO_LOGS
from posthorse.worker.running.running_job import RunningJob

T = TypeVar("T")
log = logging.getLogger("posthorse.worker")

MAX_TOLD = 300
"""Characters of an error in the log and in `Unstorable`."""

MAX_TOGETHER = 100
"""Attempts that are settled by one operation: tracebacks are long."""


def unstorable(outcome: Outcome, error: Exception) -> Outcome:
    """Return the outcome to store instead of one that the store cannot take. Its text is ours, and plain ASCII."""
    what = "its result" if isinstance(outcome, Returned) else "how the job ended"
    said = ascii(message_of(error))[1 : MAX_TOLD + 1]
    told = JobError(type="Unstorable", message=f"{what} cannot be stored: {type(error).__name__}: {said}")
    # The job has already done its work: another attempt would repeat it, only to return the same value.
    return Raised(told, gives_up=f"{what} cannot be stored" if isinstance(outcome, Returned) else None)


class Writing(Protocol):
    """What the settler needs of the completer."""

    def give_up(self, error: Exception, /) -> None:
        """Note that the store has a lease that this runner will not end."""
        ...

    def insist(self, attempt: Callable[[], Awaitable[T]], /) -> Awaitable[T | None]:
        """Repeat a call of the store for as long as the lease can be valid; None after that."""
        ...

    def logged(self, ended: Sequence[RunningJob], /) -> Awaitable[LogChanges]:
        """Return what jobs that ended logged and is not written."""
        ...

    def decide_instead(self, decided: Decided, error: Exception, /) -> Decided | None:
        """Return what to write instead of what the store cannot take; None if nothing is left to write."""
        ...

    def announce(self, ended: Sequence[Decided], /) -> Awaitable[None]:
        """Tell of what comes before these ends, right before they are written."""
        ...

    def conclude(self, ended: Sequence[Decided], refused: Collection[str] | None, /) -> Awaitable[None]:
        """Do what follows a commit. refused: jobs that had no lease; None if it is not known whether it happened."""
        ...


class Settler:
    """The settler of one runner. While one batch is being written, the next one gathers."""

    def __init__(self, store: Store, runner: str, writing: Writing) -> None:
        self._store = store
        self._runner = runner
        self._writing = writing
        self._waiting: list[Decided] = []
        self._under_way: Sequence[Decided] = ()
        self._task: asyncio.Task[None] | None = None
        self._awaited: dict[RunningJob, asyncio.Future[None]] = {}
        """Attempts whose settlement the completer waits for."""

    @property
    def left(self) -> int:
        """How many attempts are not settled yet."""
        return len(self._waiting) + len(self._under_way)

    @property
    def jobs(self) -> set[str]:
        """Ids of the jobs whose attempts are not settled yet."""
        return {each.running.claimed.job for each in (*self._waiting, *self._under_way)}

    def put(self, decided: Decided) -> None:
        """Take an attempt, to be settled soon."""
        self._waiting.append(decided)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def settle(self, decided: Decided) -> None:
        """Take an attempt, and wait until it is settled, or given up. Others may come meanwhile."""
        self.put(decided)
        awaited = self._awaited[decided.running] = asyncio.get_running_loop().create_future()
        await awaited

    async def becomes_idle(self) -> None:
        """Wait until all are settled."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    async def _write(self) -> None:
        try:
            while self._waiting:
                self._under_way = self._take()
                await self._write_taken(self._under_way)
                self._under_way = ()
        finally:
            self._task, self._under_way = None, ()

    async def _write_taken(self, taken: Sequence[Decided]) -> None:
        """Settle these. An error that concerns some leaves the others alone, and those that wait."""
        try:
            logs = await self._writing.logged([each.running for each in taken])
            for batch in _batches(taken):
                try:
                    await self._write_batch(batch, logs)
                except Exception as error:
                    self._writing.give_up(error)
        except Exception as error:
            self._writing.give_up(error)
        finally:
            if self._awaited:
                self._release(taken)

    def _release(self, taken: Sequence[Decided]) -> None:
        """Let those go on that wait for these."""
        for each in taken:
            awaited = self._awaited.pop(each.running, None)
            if awaited is not None and not awaited.done():  # it is done if who waited was cancelled
                awaited.set_result(None)

    def _take(self) -> Sequence[Decided]:
        """Take out some. A job that came back here and ended again is among the next."""
        taken: dict[str, Decided] = {}
        later: list[Decided] = []
        for each in self._waiting:
            job = each.running.claimed.job
            if job in taken or len(taken) == MAX_TOGETHER:
                later.append(each)
            else:
                taken[job] = each
        self._waiting = later
        return [*taken.values()]

    async def _write_batch(self, batch: Sequence[Decided], logs: LogChanges) -> None:
        """Settle attempts by one operation; if that fails, each by its own."""
        await self._writing.announce(batch)
        failpoint("before_settle")
        try:
            refused = await self._writing.insist(lambda: self._settle(batch, logs))
        except Exception as error:
            await self._write_each(batch, logs, error)
        else:
            failpoint("after_settle")
            await self._writing.conclude(batch, refused)

    async def _write_each(self, batch: Sequence[Decided], logs: LogChanges, error: Exception) -> None:
        if len(batch) > 1:
            for each in batch:
                await self._write_batch([each], logs)
        elif (instead := self._writing.decide_instead(batch[0], error)) is not None:
            await self._write_batch([instead], NO_LOGS)

    async def _settle(self, batch: Sequence[Decided], logs: LogChanges) -> Collection[str]:
        """Return the jobs of attempts that had no lease any more."""
        logs = _logs_of(batch, logs)
        alone = batch[0].alone
        if alone is None:
            settling = settle_all([each.settlement for each in batch])
            return await self._store.arun(after_logs(self._runner, logs, settling))
        had_lease = await self._store.arun(after_logs(self._runner, logs, alone))
        return () if had_lease else (batch[0].running.claimed.job,)


def _batches(taken: Sequence[Decided]) -> Sequence[Sequence[Decided]]:
    """Return those that are settled together, and each of the others alone."""
    together = [each for each in taken if each.alone is None]
    alone = [[each] for each in taken if each.alone is not None]
    return [together, *alone] if together else alone


def _logs_of(batch: Sequence[Decided], logs: LogChanges) -> LogChanges:
    if logs is NO_LOGS:
        return logs
    jobs = {each.running.claimed.job for each in batch}
    return LogChanges(
        [piece for piece in logs.pieces if piece.job in jobs], [piece for piece in logs.dropped if piece.job in jobs]
    )
