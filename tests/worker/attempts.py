"""Attempts that end as a test wants it, by runners that do nothing."""

from __future__ import annotations

import uuid

import posthorse as ph
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Outcome
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Settlement, settle
from posthorse.store.operations.runners import Runner, register, retire
from posthorse.store.operations.runs import claim_one


def end_attempt(app: ph.Posthorse, job: ph.Job[None], outcome: Outcome) -> None:
    """End an attempt of a job with this outcome, by a runner that does nothing."""
    store, status = app.store, job.status()
    runner = Runner(str(uuid.uuid4()), "w", "h", 1, "0", 1, (), ())
    store.run(register(runner, lease=60_000_000))
    [claimed] = store.run(claim_one(runner.id, job.id, early=True))
    spent = Spent(claimed.errors, claimed.crashes, claimed.interruptions)
    attempt = Fence(claimed.job, claimed.epoch, runner.id)
    assert store.run(settle(Settlement(attempt, decide(spent, outcome, Policy()), Lane("default", status.kind))))
    store.run(retire(runner.id))
