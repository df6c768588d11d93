"""The plans of a worker and of one runner, and the exit codes of runners."""

from __future__ import annotations

import msgspec

from posthorse.worker.base.log_formats import LogFormat

UNUSABLE = 78
"""Exit code (EX_CONFIG of sysexits.h) of a runner that would fail again after a restart."""

SCHEMA_MISMATCH = 76
"""Exit code (EX_PROTOCOL) of a runner whose store has a schema that this version cannot use."""

START_FAILED = 70
"""Exit code (EX_SOFTWARE) of a runner in which a function of `on_start` failed; another try may succeed."""

AWAY = 74
"""Exit code (EX_IOERR) of a runner that could not start because the store does not answer."""

UNANSWERED = 71
"""Exit code (EX_OSERR) of a runner whose store did not answer at its end: outcomes may be missing."""

LOST_LEASE = 75
"""Exit code (EX_TEMPFAIL) of a runner that could not renew its lease: its jobs may run elsewhere by now."""

UNENDING_CODE = 69
"""Exit code (EX_UNAVAILABLE) of a runner with code that cannot be ended; another runner must replace it."""


class WorkerPlan(msgspec.Struct, frozen=True):
    """What a worker does; the same for all its runners."""

    target: str
    """The application, as `module:attribute`."""
    url: str | None
    """The address of a store to use instead of the application's."""
    queues: tuple[str, ...]
    """The queues that it serves; none means all that its labels fit."""
    labels: tuple[str, ...]
    concurrency: int
    """How many jobs a runner runs at once."""
    log_level: str
    log_format: LogFormat
    folder: str | None
    """The folder where the worker was started, even if the application changes the current folder when imported."""
    reports_counts: bool = False
    """Whether runners report to their supervisor what they count, which shows it as metrics."""

    def __repr__(self) -> str:
        return f"WorkerPlan({self.target!r})"  # an address may hold a password


class RunnerPlan(msgspec.Struct, frozen=True):
    """What one incarnation of a runner does."""

    worker_plan: WorkerPlan
    runner: str
    worker: str
    parent: int
    """Process id of the supervisor."""
    is_quarantine: bool
    """It runs only suspects, one at a time."""
    backend: str
    """The module that the application's store needs: imported before the project's folder is on the path."""

    @property
    def concurrency(self) -> int:
        """How many jobs it runs at once."""
        return 1 if self.is_quarantine else self.worker_plan.concurrency
