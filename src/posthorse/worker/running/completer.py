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
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import accumulate
from typing import TypeVar, cast

import msgspec
from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.failpoints import failpoint
from posthorse.rules.durations import lasted
from posthorse.rules.events import Ending
from posthorse.rules.job import State
from posthorse.rules.lifecycle import Spent, Transition
from posthorse.rules.outcomes import Outcome, Raised, Returned, Stopped, Unfit
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.settings import Settings
from posthorse.rules.tallies import what_happened
from posthorse.store.operations.claim import give_back
from posthorse.store.operations.finish import Completion, complete, unfit_in_a_row
from posthorse.store.operations.gates import let_through
from posthorse.store.operations.job_logs import LogChanges, after_logs, write_logs
from posthorse.store.operations.runners import Runner
from posthorse.store.operations.telling import NOTHING
from posthorse.store.store import Store
from posthorse.worker.base.trial_write import takes_writes
from posthorse.worker.running.deciding import Decided, Deciding
from posthorse.worker.running.end_lines import EndLines, log_failure
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.job_logs import NO_LOGS, JobLogs
from posthorse.worker.running.releaser import Releaser
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import Settler, unstorable
from posthorse.worker.running.spending import Spending
from posthorse.worker.running.stopped_programs import may_be_caused_by_stop, was_caused_by_stop
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
        self._spending = Spending(store, settings, runner.id, self.insist)
        self._deciding = Deciding(store, runner, self._spending, packing)
        self._settler = Settler(store, runner.id, self)
        self._looking_up: dict[asyncio.Task[None], str] = {}
        """The job of each outcome for which something must be looked up or waited for."""
        self._releaser = Releaser(store)
        self._has_some = asyncio.Event()
        self._is_closing = False

    @property
    def is_full(self) -> bool:
        """True when the store is so far behind that no more jobs should start."""
        return len(self._completions) > self._tuning.max_results or self._weight > self._tuning.max_result_characters

    @property
    def left(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._completions) + len(self._under_way) + len(self._looking_up) + self._settler.left

    @property
    def jobs(self) -> set[str]:
        """Ids of the jobs whose outcomes are not written yet."""
        completed = {each.running.claimed.job for each in (*self._completions, *self._under_way)}
        return completed | set(self._looking_up.values()) | self._settler.jobs

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
            spent = self._known(running, outcome)
            if spent is not None:
                self._settler.put(self._decide(running, outcome, spent))
            else:
                task = asyncio.get_running_loop().create_task(self.look_up_and_put(running, outcome))
                self._looking_up[task] = running.claimed.job
                task.add_done_callback(self._looking_up.pop)

    async def run(self) -> None:
        """Write outcomes until `close` is called, then the ones that are left."""
        while self._completions or not self._is_closing:
            await self._has_some.wait()
            self._has_some.clear()
            self._begin_batch()
            if self._under_way:
                await self._complete(self._under_way, await self.logged([each.running for each in self._under_way]))
                self._under_way = []
                self._ended.wake()
        await self._releaser.close()

    async def close(self) -> None:
        """Wait for the outcomes that are being written one by one, then let `run` end."""
        while self._looking_up:
            await asyncio.wait(tuple(self._looking_up))  # gather may not yield if all are done
        await self._settler.becomes_idle()
        self._is_closing = True
        self._has_some.set()

    async def settle(self, running: RunningJob, outcome: Outcome) -> None:
        """Decide what follows from an outcome, and wait until that is written, or given up."""
        await self._settler.settle(await self._decide_after_looks(running, outcome))

    async def look_up_and_put(self, running: RunningJob, outcome: Outcome) -> None:
        """Decide what follows from an outcome, to be written soon."""
        self._settler.put(await self._decide_after_looks(running, outcome))

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────────

    async def _decide_after_looks(self, running: RunningJob, outcome: Outcome) -> Decided:
        """Decide what follows from an outcome, after all looks that this takes."""
        try:
            spent = self._known(running, outcome)
            if spent is None:
                outcome, spent = await self._look_up(running, outcome)
        except Exception as error:
            outcome, spent = self._instead(running, outcome, error)
        return self._decide(running, outcome, spent)

    def _known(self, running: RunningJob, outcome: Outcome) -> Spent | None:
        """Return what the job has spent; None if something must be looked up or waited for first."""
        if isinstance(outcome, Unfit):
            return None
        if not isinstance(outcome, Raised):
            return self._spending.known(running, has_failed=False)
        if running.stop.request in (None, "shutdown") and self._may_be_caused_by_stop(outcome):
            return None
        return self._spending.known(running, has_failed=True)

    def _may_be_caused_by_stop(self, outcome: Raised) -> bool:
        return self.ends_at < math.inf or may_be_caused_by_stop(outcome, patience=self._tuning.signal_patience)

    async def _look_up(self, running: RunningJob, outcome: Outcome) -> tuple[Outcome, Spent]:
        """Return what the outcome turns out to be, and what the job has spent."""
        if isinstance(outcome, Raised) and running.stop.request in (None, "shutdown"):
            by_stop = await was_caused_by_stop(
                outcome, lambda: self.ends_at < math.inf, patience=self._tuning.signal_patience
            )
            outcome = Stopped("shutdown") if by_stop else outcome
        elif isinstance(outcome, Unfit):
            before = await self.insist(lambda: self._store.aread(unfit_in_a_row(running.claimed.job))) or 0
            outcome = Unfit(outcome.detail, 1 + before)
        has_failed = isinstance(outcome, Raised)
        known = self._spending.known(running, has_failed=has_failed)
        return outcome, known or await self._spending.look_up(running, has_failed=has_failed)

    def _decide(self, running: RunningJob, outcome: Outcome, spent: Spent) -> Decided:
        """Decide what follows. If that fails, the job ends with the error."""
        try:
            return self._deciding.decide(running, outcome, spent)
        except Exception as error:
            return self._deciding.decide(running, *self._instead(running, outcome, error))

    def _instead(self, running: RunningJob, outcome: Outcome, error: Exception) -> tuple[Outcome, Spent]:
        """Return what to decide about instead of an outcome that cannot be stored, because of this error."""
        log.error("%s: how it ended cannot be stored; it ends with that error", running.label, exc_info=error)
        claimed = running.claimed
        return unstorable(outcome, error), Spent(claimed.errors, claimed.crashes, claimed.interruptions)

    # ── what the settler needs ───────────────────────────────────────────────────────────────────────

    def decide_instead(self, decided: Decided, error: Exception) -> Decided | None:
        """Return what to write instead of what the store cannot take; None if that was tried before."""
        if decided.is_instead:
            self.give_up(error)
            return None
        instead = self._deciding.decide(decided.running, *self._instead(decided.running, decided.outcome, error))
        return replace(instead, is_instead=True)

    def give_up(self, error: Exception) -> None:
        """Note that the store has a lease that this runner will not end."""
        log.error("gave up writing to the store; the jobs concerned run again elsewhere", exc_info=error)
        self.has_given_up = True

    async def announce(self, ended: Sequence[Decided]) -> None:
        """Tell the stream that attempts began whose ends are about to be told, if it was not told before."""
        if self._store.watched.started:
            await self._telling.tell_of([each.running for each in ended])

    async def conclude(self, ended: Sequence[Decided], refused: Collection[str] | None) -> None:
        """Count, tell and log ends that were written; let others through the gates of their jobs."""
        await self._leave([each.running.gates for each in ended if each.running.gates is not None])
        for each in ended:
            if refused is None or each.running.claimed.job in refused:
                log.warning(TAKEN_OVER, each.running.label)
            else:
                try:
                    self._tell(each)
                except Exception:  # its end is written, so nothing is left to do for the job
                    log.exception("%s ended, but this cannot be counted and told", each.running.label)

    def _tell(self, ended: Decided) -> None:
        running, outcome, transition = ended.running, ended.outcome, ended.transition
        how = cast("Ending", type(outcome).__name__.lower())
        self._tallying.ended((running,), what_happened(how, transition.state))
        if ended.group is not None:
            self._tallying.failed(running.claimed.job, ended.group)
        if self._emitter.ended:
            self._emitter.emit(running.ended(self._runner.id, how, transition.state, running.seconds, transition.error))
        if transition.error is not None:
            log_failure(running, transition, running.seconds)
        elif isinstance(outcome, Unfit):
            self._tell_of_misfit(running, transition)
        elif not isinstance(outcome, Stopped):
            log.info("%s: %s, after %s", running.label, transition.reason, lasted(running.seconds))

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
                await self.insist(lambda: self._store.arun(give_back(self._runner.id, unbegun)))
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

    async def logged(self, ended: Sequence[RunningJob]) -> LogChanges:
        """Return what jobs that ended logged and is not written; that costs those that log nothing one comparison."""
        return NO_LOGS if self._logs is None or not self._logs.has_any else await self._logs.last_of(ended)

    async def _complete(self, batch: Sequence[ReturnedJob], logs: LogChanges = NO_LOGS) -> None:
        completions = [Completion(each.running.claimed.job, each.running.claimed.epoch, each.result) for each in batch]
        told = NOTHING
        if self._store.watched.has_attempts:
            told = self._telling.of_completed([each.running for each in batch])
        try:
            completing = after_logs(self._runner.id, logs, complete(self._runner.id, completions, told))
            written = await self.insist(lambda: self._store.arun(completing))
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

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
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
