"""The completer: writes how jobs ended to the store. Results go in batches; every other outcome is decided by itself,
and those that wait at the same moment are written together (`settler`).

While one batch is being written, the next one gathers. An outcome that the fence refuses is dropped and logged. An
outcome that the store cannot take is replaced by an error that it can take; other outcomes are not affected.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from bisect import bisect
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import TypeVar, cast

import msgspec

from posthorse.clock import monotonic
from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.failpoints import failpoint
from posthorse.rules.durations import lasted
from posthorse.rules.error_groups import group_of
from posthorse.rules.events import Ending
from posthorse.rules.gates import budget_of
from posthorse.rules.job import State
from posthorse.rules.lifecycle import Transition, decide
from posthorse.rules.outcomes import Outcome, Raised, Returned, Skipped, Snoozed, Split, Stopped, Unfit, Waits
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.settings import Settings
from posthorse.rules.slice_size import is_timeout
from posthorse.rules.tallies import what_happened
from posthorse.store.operations.budgets import settle_within_budget
from posthorse.store.operations.claim import give_back
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement, complete, unfit_in_a_row
from posthorse.store.operations.gates import let_through
from posthorse.store.operations.job_logs import LogChanges, after_logs, write_logs
from posthorse.store.operations.parts import split_job
from posthorse.store.operations.runners import Runner
from posthorse.store.operations.telling import NOTHING
from posthorse.store.store import Store
from posthorse.worker.base.trial_write import takes_writes
from posthorse.worker.running.end_lines import EndLines, log_failure
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.job_logs import NO_LOGS, JobLogs
from posthorse.worker.running.parts import parts_of_attempt
from posthorse.worker.running.releaser import Releaser
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import Settler, unstorable
from posthorse.worker.running.spending import Spending
from posthorse.worker.running.stopped_programs import was_caused_by_stop
from posthorse.worker.running.tallying import Tallying
from posthorse.worker.running.telling import Telling

T = TypeVar("T")
log = logging.getLogger("posthorse.worker")

FIRST_RETRY, MAX_RETRY_PAUSE = 0.1, 5.0
TAKEN_OVER = "%s was taken over by another runner; how it ended here was dropped"


class ReturnedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that returned; `result` is JSON."""

    running: RunningJob
    result: str


class Completer:
    """The completer of one runner, which writes the outcomes of its jobs."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        runner: Runner,
        ended: EndedJobs,
        tallying: Tallying,
        telling: Telling,
        packing: Packing = PLAIN,
        logs: JobLogs | None = None,
    ) -> None:
        self._logs = logs
        self._end_lines = EndLines(store.tuning.end_lines_interval)
        self._store = store
        self._settings = settings
        self._runner = runner
        self._emitter = store.emitter
        self._tuning = store.tuning
        self._packing = packing
        self._tallying = tallying
        self._telling = telling
        self._ended = ended
        """Woken after each batch, because there is room again, and after jobs have left their gates."""
        self.has_given_up = False
        """True if an outcome could not be written: the store has a lease that this runner will not end."""
        self._misfits: set[str] = set()
        """Kinds with a job that this version of the code cannot run, and whose warning was logged."""
        self.ends_at = math.inf
        """When this runner must have ended, in monotonic seconds; infinity until it must stop."""
        self._completions: list[ReturnedJob] = []
        self._weight = 0
        """Total length of the waiting results, in characters."""
        self._under_way: list[ReturnedJob] = []
        self._settler = Settler(store, self._insist)
        self._spending = Spending(store, settings, runner.id, self._insist)
        self._releaser = Releaser(store)
        self._settling: dict[asyncio.Task[None], str] = {}
        self._has_some = asyncio.Event()
        self._is_closing = False

    @property
    def is_full(self) -> bool:
        """True when the store is so far behind that no more jobs should start."""
        return len(self._completions) > self._tuning.max_results or self._weight > self._tuning.max_result_characters

    @property
    def left(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._completions) + len(self._under_way) + len(self._settling)

    @property
    def jobs(self) -> set[str]:
        """Ids of the jobs whose outcomes are not written yet."""
        completed = {each.running.claimed.job for each in (*self._completions, *self._under_way)}
        return completed | set(self._settling.values())

    def put(self, running: RunningJob, outcome: Outcome) -> None:
        """Take the outcome of a job, to be written soon."""
        if self._is_closing:
            # Only a job that lost its lease can end after the completer has closed.
            log.warning(TAKEN_OVER, running.label)
        elif type(outcome) is Returned:
            failpoint("before_completion")
            self._completions.append(ReturnedJob(running, outcome.result))
            self._weight += len(outcome.result)
            self._has_some.set()
        elif running.stop.request != "lost":
            task = asyncio.get_running_loop().create_task(self.settle(running, outcome))
            self._settling[task] = running.claimed.job
            task.add_done_callback(self._settling.pop)

    async def run(self) -> None:
        """Write outcomes until `close` is called, then the ones that are left."""
        while self._completions or not self._is_closing:
            await self._has_some.wait()
            self._has_some.clear()
            self._begin_batch()
            if self._under_way:
                await self._complete(self._under_way, await self._logged([each.running for each in self._under_way]))
                self._under_way = []
                self._ended.wake()
        await self._releaser.close()

    async def close(self) -> None:
        """Wait for the outcomes that are being written one by one, then let `run` end."""
        while self._settling:
            await asyncio.wait(tuple(self._settling))  # gather may not yield if all are done
        self._is_closing = True
        self._has_some.set()

    async def settle(self, running: RunningJob, outcome: Outcome) -> None:
        """Decide what follows from an outcome, and write it. If the store cannot take it, write that as an error."""
        logs = await self._logged([running])
        try:
            await self._settle(running, outcome, logs)
        except Exception as error:
            log.exception("%s: how it ended cannot be stored; it ends with that error", running.label)
            try:
                await self._settle(running, unstorable(outcome, error))
            except Exception:
                log.exception("gave up writing to the store; the jobs concerned run again elsewhere")
                self.has_given_up = True

    async def _settle(self, running: RunningJob, outcome: Outcome, logs: LogChanges = NO_LOGS) -> None:
        claimed = running.claimed
        if isinstance(outcome, Raised) and running.stop.request in (None, "shutdown"):
            by_stop = await was_caused_by_stop(
                outcome, lambda: self.ends_at < math.inf, patience=self._tuning.signal_patience
            )
            outcome = Stopped("shutdown") if by_stop else outcome
        spent = await self._spending.spent(running)
        if isinstance(outcome, Raised):
            spent = msgspec.structs.replace(spent, forgiven=await self._spending.forgiven(running))
        if isinstance(outcome, Unfit):
            before = await self._insist(lambda: self._store.aread(unfit_in_a_row(claimed.job))) or 0
            outcome = Unfit(outcome.detail, 1 + before)
        transition = decide(spent, outcome, self._spending.policy(running), chance=random.random())
        seconds = running.seconds = monotonic() - running.began
        evidence = {"worker": self._runner.worker, "pid": self._runner.pid, "seconds": round(seconds, 3)}
        stored, group = transition, None
        if (error := transition.error) is not None:
            texts = self._packing.of(claimed.job, running.options.tenant)
            packed = texts.pack_error(error)
            group = group_of(running.lane.kind, error, is_secret=texts.is_on)
            evidence |= msgspec.to_builtins(packed)
            if packed is not error:
                stored = msgspec.structs.replace(transition, error=packed)
                if is_timeout(msgspec.to_builtins(error)):
                    evidence["is_timeout"] = True
        if transition.state is State.FAILED and transition.reason is not None:
            evidence["detail"] = transition.reason
        elif isinstance(outcome, Snoozed | Waits | Skipped):
            evidence["detail"] = outcome.reason
        elif isinstance(outcome, Unfit):
            evidence["detail"] = outcome.detail
        elif isinstance(outcome, Stopped) and outcome.request in ("yield", "window"):
            evidence["detail"] = transition.reason or outcome.request
        detail = msgspec.json.encode(evidence).decode()
        if self._store.watched.started and not running.is_told:
            await self._telling.tell_of([running])
        attempt = Fence(claimed.job, claimed.epoch, self._runner.id)
        failpoint("before_settle")
        number = claimed.lane if transition.solo == running.lane.solo else None
        cause = group.fingerprint if group is not None and transition.state is State.FAILED else None
        settlement = Settlement(attempt, stored, running.lane, detail, number, cause)
        if isinstance(outcome, Split):
            splitting = split_job(
                settlement,
                parts_of_attempt(running, outcome, self._packing),
                packing=self._packing,
                told=self._store.watched.submitted,
            )
            applied = await self._insist(lambda: self._store.arun(after_logs(self._runner.id, logs, splitting)))
        elif transition.event == "attempt_failed" and (rate := running.queue.retry_budget) is not None:
            within = settle_within_budget(settlement, budget_of(rate, running.lane.queue))
            settling = after_logs(self._runner.id, logs, within)
            applied = await self._insist(lambda: self._store.arun(settling))
        else:
            applied = await self._settler.settle(settlement, logs)
        failpoint("after_settle")
        if running.gates is not None:
            await self._leave([running.gates])
        how = cast("Ending", type(outcome).__name__.lower())
        if applied:
            self._tallying.ended((running,), what_happened(how, transition.state))
            if group is not None:
                self._tallying.failed(claimed.job, group)
        if applied and self._emitter.ended:
            self._emitter.emit(running.ended(self._runner.id, how, transition.state, seconds, transition.error))
        if not applied:
            log.warning(TAKEN_OVER, running.label)
        elif transition.error is not None:
            log_failure(running, transition, seconds)
        elif isinstance(outcome, Unfit):
            self._tell_of_misfit(running, transition)
        elif not isinstance(outcome, Stopped):
            log.info("%s: %s, after %s", running.label, transition.reason, lasted(seconds))

    def _tell_of_misfit(self, running: RunningJob, transition: Transition) -> None:
        """Log a warning once for each kind: thousands of such jobs may be retried for days."""
        kind = running.kind.kind
        level = logging.DEBUG if kind in self._misfits else logging.WARNING
        self._misfits.add(kind)
        words = "job %s (%s): %s; it is tried again later and later, and others of this kind are not logged"
        log.log(level, words, running.claimed.job, kind, transition.reason)

    async def give_back(self, unbegun: list[tuple[str, int]]) -> None:
        """Give back jobs (job, epoch) that were claimed but not started; this spends none of their budgets."""
        if unbegun:
            failpoint("before_give_back")
            try:
                await self._insist(lambda: self._store.arun(give_back(self._runner.id, unbegun)))
            except Exception:
                log.exception("cannot give back jobs that were not begun; they run again elsewhere")
                self.has_given_up = True

    def _begin_batch(self) -> None:
        """Take what the next commit writes: everything that waits, or less if the results are large."""
        self._under_way, self._completions = self._completions, []
        if self._weight > self._tuning.max_result_characters:
            weights = list(accumulate(len(each.result) for each in self._under_way))
            cut = bisect(weights, self._tuning.max_result_characters) + 1
            self._under_way, self._completions = self._under_way[:cut], self._under_way[cut:]
        self._weight = sum(len(each.result) for each in self._completions)
        if self._completions:
            self._has_some.set()

    async def _logged(self, ended: Sequence[RunningJob]) -> LogChanges:
        """Return what jobs that ended logged and is not written; that costs those that log nothing one comparison."""
        return NO_LOGS if self._logs is None or not self._logs.has_any else await self._logs.last_of(ended)

    async def _complete(self, batch: Sequence[ReturnedJob], logs: LogChanges = NO_LOGS) -> None:
        completions = [Completion(each.running.claimed.job, each.running.claimed.epoch, each.result) for each in batch]
        told = NOTHING
        if self._store.watched.has_attempts:
            told = self._telling.of_completed([each.running for each in batch])
        try:
            completing = after_logs(self._runner.id, logs, complete(self._runner.id, completions, told))
            written = await self._insist(lambda: self._store.arun(completing))
        except Exception as error:
            await self._complete_in_parts(batch, logs, error)
        else:
            failpoint("after_completion")
            refused = None if written is None else written.refused
            if written is not None and written.has_noted:
                self._releaser.wake()
            if refused:
                for each in batch:
                    if each.running.claimed.job in refused:
                        log.warning(TAKEN_OVER, each.running.label)
            if refused is not None:
                applied = [each.running for each in batch if not refused or each.running.claimed.job not in refused]
                self._tallying.ended(applied)
                self._end_lines.completed(applied)
                if self._emitter.ended:
                    self._tell_of_returned(applied)
            await self._leave([each.running.gates for each in batch if each.running.gates is not None])

    def _tell_of_returned(self, jobs: Sequence[RunningJob]) -> None:
        for run in jobs:
            self._emitter.emit(run.ended(self._runner.id, "returned", State.COMPLETED, run.seconds))

    async def _complete_in_parts(self, batch: Sequence[ReturnedJob], logs: LogChanges, error: Exception) -> None:
        """Find the result that the store cannot take: write all others, and end that one's job with the error."""
        if logs.pieces:
            try:
                await self._store.arun(write_logs(self._runner.id, logs))
            except Exception:
                log.exception("what some jobs logged last cannot be written, and is dropped")
        middle = len(batch) // 2
        if middle == 0:
            await self.settle(batch[0].running, unstorable(Returned(batch[0].result), error))
        for part in (batch[:middle], batch[middle:]) if middle else ():
            if not self.has_given_up:
                await self._complete(part)

    async def _leave(self, gates: Sequence[Sequence[str]]) -> None:
        """Let waiting jobs through the gates of jobs that ended. If this fails, the sweep does it later."""
        if not gates:
            return
        try:
            await self._store.arun(let_through({gate for some in gates for gate in some}))
        except Exception as error:
            log.warning("cannot let jobs through that waited for others: %s; the sweep will", error)
        self._ended.leave_gates()

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """Retry while the lease can still be valid; return None after that: this runner must then end.

        Raises the store's error if it refuses this write: it failed, another write succeeded, and it failed again.
        """
        deadline = monotonic() + self._settings.lease
        failures, took_another = 0, False
        while True:
            try:
                return await attempt()
            except Exception as error:
                is_away = isinstance(error, StoreUnreachable | OutcomeUnknown)
                if took_another and not is_away:
                    raise
                failures += 1
                pause = random.uniform(0.5, 1) * min(MAX_RETRY_PAUSE, FIRST_RETRY * 2**failures)
                if monotonic() + pause > min(deadline, self.ends_at):
                    log.error("gave up writing to the store: %s; the jobs concerned run again elsewhere", error)
                    self.has_given_up = True
                    return None
                log.warning("cannot write to the store: %s; trying again in %.1f s", error, pause)
                took_another = not is_away and await takes_writes(self._store, self._runner.id)
                await asyncio.sleep(pause)
