"""Execution: one job runs and comes to an outcome. Knows no database and no queue.

The journey: 1. arguments are decoded, 2. a job with a context learns where it stood, 3. its code runs, on the
loop or in a thread, 4. whatever it did is an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import cast

import msgspec

from posthorse.errors import Interrupted
from posthorse.rules.codec import encode_result
from posthorse.rules.job import JobError
from posthorse.rules.lifecycle import Outcome, Raised, Returned, Stopped, Unfit
from posthorse.rules.registry import Registered
from posthorse.rules.signature import ArgumentsUnfit
from posthorse.worker.context import Context
from posthorse.worker.journal import Journal
from posthorse.worker.stop import StopSignal

RESULT_LIMIT = 4 * 1024 * 1024
LONGEST_MESSAGE = 4_000
LONGEST_TRACEBACK = 16_000


class Assignment(msgspec.Struct, frozen=True):
    """What is to run: a kind, its stored arguments, and the way to stop it."""

    job: str
    attempt: int
    kind: Registered
    arguments: str
    timeout: float | None
    stop: StopSignal
    journal: Journal | None
    """Where a job with a context saves its place; None for one without."""
    is_first_claim: bool


async def run(assignment: Assignment, threads: Executor) -> Outcome:
    """Runs the job to its outcome. Raises CancelledError only when the assignment itself was not asked to stop."""
    try:
        args, kwargs = assignment.kind.signature.decode(assignment.arguments)
    except ArgumentsUnfit as error:
        return Unfit(str(error))
    stop = assignment.stop
    try:
        stop.raise_if_asked()
        if assignment.journal is not None:
            if not assignment.is_first_claim:
                await assignment.journal.load()
            args = (_context(assignment, assignment.journal), *args)
        function = assignment.kind.function
        if assignment.kind.is_async:
            value = await _with_timeout(cast("Awaitable[object]", function(*args, **kwargs)), assignment.timeout)
        else:
            value = await _in_thread(threads, function, args, kwargs)
        return Returned(encode_result(value, limit=RESULT_LIMIT))
    except Interrupted:
        return Stopped(stop.request or "shutdown")
    except asyncio.CancelledError as error:
        if stop.request is not None:
            return Stopped(stop.request)
        return Raised(evidence(error))
    except (KeyboardInterrupt, SystemExit, Exception) as error:
        # SystemExit in a job is an error of the job, not the end of the worker.
        return Raised(evidence(error))


def evidence(error: BaseException) -> JobError:
    """An exception as it is kept with the job; survives exceptions that cannot even be printed."""
    try:
        message = str(error)
    except Exception as broken:
        message = f"<its message cannot be shown: {type(broken).__name__}>"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        trace = "<its traceback cannot be shown>"
    name = type(error).__qualname__
    module = type(error).__module__
    return JobError(
        type=name if module == "builtins" else f"{module}.{name}",
        message=_storable(message, LONGEST_MESSAGE),
        traceback=_storable(trace, LONGEST_TRACEBACK),
    )


def _context(assignment: Assignment, journal: Journal) -> Context:
    return Context(
        journal, job_id=assignment.job, attempt=assignment.attempt, is_async=assignment.kind.is_async
    )


async def _with_timeout(running: Awaitable[object], timeout: float | None) -> object:
    if timeout is None:
        return await running
    clock = asyncio.timeout(timeout)
    try:
        async with clock:
            return await running
    except TimeoutError as error:
        if clock.expired():
            raise TimeoutError(f"the job took longer than its timeout of {timeout:g} s") from error
        raise


async def _in_thread(
    threads: Executor, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    # Each job in a context of its own: what one sets the next must not see.
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(
        threads, lambda: context.run(_catching_stop_iteration, function, args, kwargs)
    )
    return await running


def _catching_stop_iteration(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:  # cannot pass through a future
        raise RuntimeError("the job raised StopIteration") from error


def _storable(text: str, longest: int) -> str:
    """Text that any store takes: no NUL, no lone surrogates, the end kept when it is long."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\\0")
    return clean if len(clean) <= longest else "…" + clean[-longest:]
