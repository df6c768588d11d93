"""What a worker is told to do, what its supervisor tells a runner at its start, and what a runner's exit codes mean."""

from __future__ import annotations

import msgspec

UNUSABLE = 78
"""Exit code (EX_CONFIG of sysexits.h) of a runner that starting again cannot help."""

SCHEMA_MISMATCH = 76
"""Exit code (EX_PROTOCOL) of a runner that met a schema which this version of Posthorse does not work with."""

AWAY = 74
"""Exit code (EX_IOERR) of a runner that could not begin because the store does not answer."""

UNANSWERED = 71
"""Exit code (EX_OSERR) of a runner that the store did not answer at its end: what it holds may not be handed in."""

LOST_LEASE = 75
"""Exit code (EX_TEMPFAIL) of a runner that could not renew its lease: its jobs may run elsewhere by now."""

UNENDING_CODE = 69
"""Exit code (EX_UNAVAILABLE) of a runner in which code goes on that nothing can end; another is to take its place."""


class WorkerPlan(msgspec.Struct, frozen=True):
    """What a worker is told to do: the same for all its runners."""

    target: str
    """The application, as `module:attribute`."""
    url: str | None
    """Another store than the application's."""
    queues: tuple[str, ...]
    """Those that it serves; none means all that its labels fit."""
    labels: tuple[str, ...]
    concurrency: int
    """Jobs that a runner runs at once."""
    log_level: str
    folder: str | None
    """Where the worker was started, whatever the application does to the current folder while it is imported."""

    def __repr__(self) -> str:
        return f"Assignment({self.target!r})"  # an address may hold a password


class RunnerPlan(msgspec.Struct, frozen=True):
    """What one incarnation of a runner is."""

    assignment: WorkerPlan
    runner: str
    worker: str
    parent: int
    """The supervisor's process."""
    is_quarantine: bool
    """It runs suspects, one at a time, and nothing else."""
    backend: str
    """The module that the application's store needs: imported before the project's folder is on the path."""

    @property
    def concurrency(self) -> int:
        """Jobs that it runs at once."""
        return 1 if self.is_quarantine else self.assignment.concurrency
