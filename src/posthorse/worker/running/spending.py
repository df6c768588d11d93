"""What a job has spent when an attempt of it ended, and what it may spend: `rules/lifecycle` decides by both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from msgspec.structs import replace

from posthorse.rules.lifecycle import Policy, Spent
from posthorse.rules.registry import KindOptions
from posthorse.rules.retry import Backoff
from posthorse.rules.settings import Settings
from posthorse.store.operations.checkpoints import errors_before_slice
from posthorse.store.operations.runners import held_by
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

T = TypeVar("T")


class Insist(Protocol):
    """Repeat a call of the store for as long as the lease can be valid; None after that."""

    def __call__(self, attempt: Callable[[], Awaitable[T]], /) -> Awaitable[T | None]: ...


class Spending:
    """The errors, crashes and interruptions of the jobs that one runner runs."""

    def __init__(self, store: Store, settings: Settings, runner_id: str, insist: Insist) -> None:
        self._store = store
        self._settings = settings
        self._runner_id = runner_id
        self._insist = insist
        self._unfit_wait = store.tuning.unfit_wait
        self._of_kinds: dict[str, tuple[KindOptions, Policy]] = {}

    def known(self, running: RunningJob, *, has_failed: bool) -> Spent | None:
        """Return what the job has used of its budgets; None if only the store knows.

        A committed slice is progress, and progress resets them: after an error, those before it are forgiven.
        """
        claimed, has_advanced = running.claimed, running.has_advanced
        if has_advanced:
            return Spent(claimed.errors, forgiven=claimed.errors if has_failed else 0)
        if has_advanced is None or (has_failed and claimed.errors and running.has_checkpoints):
            return None
        return Spent(claimed.errors, claimed.crashes, claimed.interruptions)

    async def look_up(self, running: RunningJob, *, has_failed: bool) -> Spent:
        """Return the same by a look into the store."""
        claimed, has_advanced = running.claimed, running.has_advanced
        spent = Spent(claimed.errors, claimed.crashes, claimed.interruptions)
        if has_advanced is None:
            held = await self._insist(lambda: self._store.aread(held_by(self._runner_id))) or []
            spent = next((lease.spent for lease in held if lease.job == claimed.job), spent)
        if has_failed and claimed.errors and running.has_checkpoints:
            forgiven = await self._insist(lambda: self._store.aread(errors_before_slice(claimed.job))) or 0
            spent = replace(spent, forgiven=forgiven)
        return spent

    def policy(self, running: RunningJob) -> Policy:
        """Return what the job may use of them; most jobs have no options, and share what their kind says."""
        kind, options = running.kind.options, running.options
        if running.claimed.options is not None:
            backoff = kind.backoff if options.backoff is None else Backoff.of_numbers(options.backoff)
            return self._policy(options.max_attempts or kind.max_attempts, kind.max_crashes, backoff)
        shared = self._of_kinds.get(running.kind.kind)
        if shared is None or shared[0] is not kind:
            made = self._policy(kind.max_attempts, kind.max_crashes, kind.backoff)
            shared = self._of_kinds[running.kind.kind] = kind, made
        return shared[1]

    def _policy(self, max_attempts: int, max_crashes: int, backoff: Backoff) -> Policy:
        return Policy(
            max_attempts=max_attempts,
            max_crashes=max_crashes,
            max_interruptions=self._settings.max_interruptions,
            backoff=backoff,
            unfit_wait=self._unfit_wait,
        )
