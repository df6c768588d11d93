"""The settler: writes together how attempts ended that wait at the same moment, by one operation.

Each attempt gets its own answer. If the store cannot take what some of them left behind, each is written by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from posthorse.rules.job import JobError
from posthorse.rules.outcomes import Outcome, Raised, Returned
from posthorse.rules.values.texts import message_of
from posthorse.store.operations.finish import Settlement, settle_all
from posthorse.store.operations.job_logs import LogChanges, after_logs
from posthorse.store.store import Store
from posthorse.worker.running.job_logs import NO_LOGS

T = TypeVar("T")

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


class Insist(Protocol):
    """Repeat a call of the store for as long as the lease can be valid; None after that."""

    def __call__(self, attempt: Callable[[], Awaitable[T]], /) -> Awaitable[T | None]: ...


class Unsettled(NamedTuple):
    """An attempt to settle, and where its answer goes: whether it still had its lease, None if that is not known."""

    settlement: Settlement
    logs: LogChanges
    answer: asyncio.Future[bool | None]


class Settler:
    """The settler of one runner. While one batch is being written, the next one gathers."""

    def __init__(self, store: Store, insist: Insist) -> None:
        self._store = store
        self._insist = insist
        self._waiting: list[Unsettled] = []
        self._writing: asyncio.Task[None] | None = None

    async def settle(self, settlement: Settlement, logs: LogChanges = NO_LOGS) -> bool | None:
        """Settle an attempt, and write what it logged last; return whether it still had its lease, None if that was
        given up.

        Raises what the store says of an attempt that it cannot take.
        """
        answer: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Unsettled(settlement, logs, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_batch(self._take())
        finally:
            self._writing = None

    def _take(self) -> Sequence[Unsettled]:
        """Take out a batch. A job that came back here and ended again is in the next one."""
        batch = {each.settlement.attempt.job: each for each in reversed(self._waiting[:MAX_TOGETHER])}
        taken = set(map(id, batch.values()))
        self._waiting = [each for each in self._waiting if id(each) not in taken]
        return [*reversed(batch.values())]

    async def _write_batch(self, batch: Sequence[Unsettled]) -> None:
        settlements = [each.settlement for each in batch]
        settling = after_logs(settlements[0].attempt.runner, _logs_of(batch), settle_all(settlements))
        try:
            refused = await self._insist(lambda: self._store.arun(settling))
        except Exception as error:
            if len(batch) == 1:
                _tell(batch[0], error)
            else:
                for each in batch:
                    await self._write_batch([each])
        else:
            for each in batch:
                _tell(each, None if refused is None else each.settlement.attempt.job not in refused)


def _logs_of(batch: Sequence[Unsettled]) -> LogChanges:
    with_some = [each.logs for each in batch if each.logs is not NO_LOGS]
    if not with_some:
        return NO_LOGS
    pieces = [piece for logs in with_some for piece in logs.pieces]
    return LogChanges(pieces, [piece for logs in with_some for piece in logs.dropped])


def _tell(waiting: Unsettled, answer: bool | Exception | None) -> None:
    if waiting.answer.done():
        return  # it was cancelled
    if isinstance(answer, Exception):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)
