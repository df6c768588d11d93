"""What a job has spent when an attempt of it ended, and what it may spend: `rules/lifecycle` decides by both."""

from __future__ import annotations

from posthorse.rules.lifecycle import Policy, Spent
from posthorse.rules.retry import Backoff
from posthorse.rules.settings import Settings
from posthorse.store.operations.checkpoints import errors_before_slice
from posthorse.store.operations.runners import held_by
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import Insist


class Spending:
    """The errors, crashes and interruptions of the jobs that one runner runs."""

    def __init__(self, store: Store, settings: Settings, runner_id: str, insist: Insist) -> None:
        self._store = store
        self._settings = settings
        self._runner_id = runner_id
        self._insist = insist
        self._unfit_wait = store.tuning.unfit_wait

    async def spent(self, running: RunningJob) -> Spent:
        """Return what the job has used of its budgets. A committed slice is progress, and progress resets them."""
        claimed = running.claimed
        spent = Spent(claimed.errors, claimed.crashes, claimed.interruptions)
        if running.has_advanced is None:
            held = await self._insist(lambda: self._store.aread(held_by(self._runner_id))) or []
            return next((lease.spent for lease in held if lease.job == claimed.job), spent)
        return Spent(claimed.errors) if running.has_advanced else spent

    async def forgiven(self, running: RunningJob) -> int:
        """Return how many of the job's errors came before its last committed slice."""
        claimed = running.claimed
        if not claimed.errors or not running.has_checkpoints:
            return 0
        if running.has_advanced:
            return claimed.errors
        return await self._insist(lambda: self._store.aread(errors_before_slice(claimed.job))) or 0

    def policy(self, running: RunningJob) -> Policy:
        """Return what the job may use of them."""
        kind, options = running.kind.options, running.options
        backoff = kind.backoff if options.backoff is None else Backoff.of_numbers(options.backoff)
        return Policy(
            max_attempts=options.max_attempts or kind.max_attempts,
            max_crashes=kind.max_crashes,
            max_interruptions=self._settings.max_interruptions,
            backoff=backoff,
            unfit_wait=self._unfit_wait,
        )
