"""Stores for tests: each a copy of one empty file, in memory where the system has a folder there.

The schema is made once in each process. A copy takes a fraction of a millisecond, and nothing is ever synced to a disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgspec

from posthorse.errors import InvalidCall
from posthorse.rules.job import Lane
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.base import Operation
from posthorse.store.operations.read import over, workers
from posthorse.store.store import Store

T = TypeVar("T")

TEST_WORKER = "tests"
"""The name of the worker that a drain is."""

IN_MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux."""

_numbers = count(1)


def for_tests(tuning: Tuning) -> Tuning:
    """Return the figures for the store of a test: nothing is synced, nothing sleeps, and nothing that was read is used
    again later.

    So what runs next depends on what is in the store, and never on how long ago that was read.
    """
    return msgspec.structs.replace(
        tuning,
        sqlite_synchronous="OFF",
        news_interval=0.0,
        shut_gate_interval=0.0,
        step_pause=0.0,
        sleep_in_place=0.0,
        throttle_in_place=0.0,
    )


class DirectStore(Store):
    """A store whose coroutines wait for it where they run: a thread for each step would take longer than the step.

    Callers that wait for a job are refused while no worker runs, because they would wait for ever.
    """

    def wait_for_end(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        return self._already_over(jobs, seconds) or super().wait_for_end(jobs, seconds)

    async def await_end(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        return self._already_over(jobs, seconds) or await super().await_end(jobs, seconds)

    def _already_over(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        """Return those that are over. Raises InvalidCall if none is, and nothing runs that could end them."""
        ended = self.read(over(sorted(jobs)))
        if ended or seconds <= 0 or any(runner.worker != TEST_WORKER for runner in self.read(workers())):
            return ended
        raise InvalidCall(
            f"job {min(jobs)} is not over, and in this test nothing runs until drain(): call posthorse.drain() first. "
            "A test in which jobs should run meanwhile starts a worker: `with app.worker():`"
        )

    async def arun(self, operation: Operation[T]) -> T:
        return await super().arun(operation) if self.is_in_transaction else self.run(operation)

    async def aread(self, operation: Operation[T]) -> T:
        return await super().aread(operation) if self.is_in_transaction else self.read(operation)

    async def alook(self, operation: Operation[T], *, deadline: float | None = None) -> T:
        if self.is_in_transaction:
            return await super().alook(operation, deadline=deadline)
        return self.look(operation, deadline=deadline)

    async def alanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        return await super().alanes(wanted) if self.is_in_transaction else self.lanes(wanted)


@contextmanager
def fresh_store() -> Iterator[str]:
    """Yield the address of an empty store, which is removed afterwards."""
    empty = _empty_store()
    folder = empty.parent / str(next(_numbers))
    folder.mkdir()
    try:
        shutil.copyfile(empty, folder / "jobs.db")
        yield f"sqlite:///{folder}/jobs.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty_store() -> Path:
    return _empty_store_of(os.getpid())


@cache
def _empty_store_of(process: int) -> Path:
    """Make the store that others are copied from. A forked process makes its own, so that it removes no other's."""
    has_memory = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK | os.X_OK)
    folder = tempfile.TemporaryDirectory(prefix="posthorse-tests-", dir=IN_MEMORY if has_memory else None)
    _kept.append(folder)
    path = Path(folder.name) / "empty.db"
    store = Store(f"sqlite:///{path}", tuning=for_tests(DEFAULTS))
    store.migrate()
    store.close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""
