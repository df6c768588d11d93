"""structlog: its context variables name the job that runs, if the application uses it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from posthorse.worker.base.log_capture import JobInContext


def is_loaded() -> bool:
    """Return whether structlog is loaded; other applications pay for this look alone."""
    return "structlog" in sys.modules


def bind(job: JobInContext) -> None:
    """Bind `job_id`, `kind` and `attempt` in the context of a job."""
    variables: Any = import_module("structlog.contextvars")
    variables.bind_contextvars(job_id=job[0], kind=job[1], attempt=job[2])
