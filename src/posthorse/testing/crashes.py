"""A crash as tests want it: the worker seems to die at a place in a long job, and another one continues the job."""

from __future__ import annotations


class Crash(BaseException):
    """Raised where the worker dies. No `except Exception` of a job catches it."""
