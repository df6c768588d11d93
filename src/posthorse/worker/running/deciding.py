"""What follows from how an attempt ended, and what is stored of it. It never waits: what must be looked up comes in."""

from __future__ import annotations

import random

import msgspec

from posthorse.clock import monotonic
from posthorse.rules.error_groups import Group, group_of
from posthorse.rules.gates import budget_of
from posthorse.rules.job import State
from posthorse.rules.lifecycle import Spent, Transition, decide
from posthorse.rules.outcomes import Outcome, Skipped, Snoozed, Split, Stopped, Unfit, Waits
from posthorse.rules.packing import PackedError, Packing
from posthorse.rules.slice_size import is_timeout
from posthorse.store.base import Operation
from posthorse.store.operations.budgets import settle_within_budget
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Settlement
from posthorse.store.operations.parts import split_job
from posthorse.store.operations.runners import Runner
from posthorse.store.store import Store
from posthorse.worker.running.parts import parts_of_attempt
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.spending import Spending


class Evidence(msgspec.Struct, omit_defaults=True):
    """What the event of an end tells, as JSON: where the attempt ran and for how long, why it ended, and its error."""

    worker: str
    pid: int
    seconds: float
    type: str | None = None
    message: str | None = None
    traceback: str | None = None
    packed: str | None = None
    detail: str | None = None
    is_timeout: bool = False
    """Set for an error that is packed, so that it cannot be told from its message."""


class Decided(msgspec.Struct, frozen=True):
    """An attempt that ended other than by returning, with what follows from it.

    group: that of its error. alone: the operation that settles it, if it cannot be settled together with others.
    is_instead: whether it replaces what the store could not take.
    """

    running: RunningJob
    outcome: Outcome
    transition: Transition
    settlement: Settlement
    group: Group | None
    alone: Operation[bool] | None
    is_instead: bool = False


class Deciding:
    """The decisions of one runner."""

    def __init__(self, store: Store, runner: Runner, spending: Spending, packing: Packing) -> None:
        self._watched = store.watched
        self._spending = spending
        self._runner = runner
        self._packing = packing

    def decide(self, running: RunningJob, outcome: Outcome, spent: Spent) -> Decided:
        """Return what follows from an outcome, given what the job has used of its budgets."""
        claimed, lane = running.claimed, running.lane
        transition = decide(spent, outcome, self._spending.policy(running), chance=random.random())
        running.seconds = monotonic() - running.began
        error, group, cause = transition.error, None, None
        stored = transition
        if error is not None:
            texts = self._packing.of(claimed.job, running.options.tenant)
            packed = texts.pack_error(error)
            group = group_of(lane.kind, error, is_secret=texts.is_on)
            if packed is not error:
                stored = msgspec.structs.replace(transition, error=packed)
            if transition.state is State.FAILED:
                cause = group.fingerprint
        settlement = Settlement(
            Fence(claimed.job, claimed.epoch, self._runner.id),
            stored,
            lane,
            self._evidence(running, outcome, transition, stored),
            claimed.lane if transition.solo == lane.solo else None,
            cause,
        )
        return Decided(running, outcome, transition, settlement, group, self._alone(running, outcome, settlement))

    def _alone(self, running: RunningJob, outcome: Outcome, settlement: Settlement) -> Operation[bool] | None:
        if isinstance(outcome, Split):
            parts = parts_of_attempt(running, outcome, self._packing)
            return split_job(settlement, parts, packing=self._packing, told=self._watched.submitted)
        rate = running.queue.retry_budget
        if rate is not None and settlement.transition.event == "attempt_failed":
            return settle_within_budget(settlement, budget_of(rate, running.lane.queue))
        return None

    def _evidence(self, running: RunningJob, outcome: Outcome, transition: Transition, stored: Transition) -> str:
        runner, why = self._runner, _reason(outcome, transition)
        evidence = Evidence(runner.worker, runner.pid, round(running.seconds, 3), detail=why)
        if (error := stored.error) is not None:
            evidence.type, evidence.message, evidence.traceback = error.type, error.message, error.traceback
        if isinstance(error, PackedError):
            evidence.packed = error.packed
        if error is not transition.error and is_timeout(msgspec.to_builtins(transition.error)):
            evidence.is_timeout = True
        return _encode(evidence).decode()


def _reason(outcome: Outcome, transition: Transition) -> str | None:
    """Return what the event says beside the error."""
    if transition.state is State.FAILED:
        return transition.reason
    match outcome:
        case Snoozed() | Waits() | Skipped():
            return outcome.reason
        case Unfit():
            return outcome.detail
        case Stopped("yield" | "window" as request):
            return transition.reason or request
        case _:
            return None


_encode = msgspec.json.Encoder().encode
