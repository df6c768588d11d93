"""Execution: one job runs and comes to an outcome. Knows no database and no queue.

The journey: 1. arguments are decoded, 2. a job with a context learns where it stood, 3. its code runs, on the
loop or in a thread, 4. whatever it did is an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, cast

from posthorse.clock import microseconds, moment
from posthorse.errors import Interrupted, OutcomeUnknown, StoreUnreachable
from posthorse.rules.arguments.signature import ArgumentsUnfit
from posthorse.rules.job import JobError, Options
from posthorse.rules.lifecycle import Lost, Outcome, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.registry import Registered
from posthorse.rules.steering import Snooze, Verdict, verdict_on
from posthorse.rules.values.results import encode_result
from posthorse.store.operations.claim import Claimed
from posthorse.worker.context import Context
from posthorse.worker.evidence import evidence_of, storable
from posthorse.worker.journal import Journal
from posthorse.worker.stop import StopSignal
from posthorse.worker.threads import Threads

LONGEST_REASON = 500
RESULT_LIMIT = 4 * 1024 * 1024
NOTHING = Returned("null")
ValueOrError = tuple[object, BaseException | None]
"""What a function came to: its value, or its error."""

log = logging.getLogger("posthorse.worker")


class Assignment(Protocol):
    """What is to run, and the way to stop it."""

    @property
    def claimed(self) -> Claimed:
        """The job as it was claimed."""
        ...

    @property
    def kind(self) -> Registered:
        """Its code."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that it may take."""
        ...

    @property
    def unfit(self) -> str | None:
        """Why this version of Posthorse cannot run it, if it cannot."""
        ...

    @property
    def stop(self) -> StopSignal:
        """What is asked of it."""
        ...

    @property
    def journal(self) -> Journal | None:
        """Where a job with a context saves its place; None for one without."""
        ...


async def run(assignment: Assignment, threads: Threads[ValueOrError]) -> Outcome:
    """Runs the job to its outcome."""
    kind, stop = assignment.kind, assignment.stop
    if assignment.unfit is not None:
        return Unfit(assignment.unfit)
    arguments = assignment.claimed.arguments
    assert arguments is not None, "long ones are brought before a job begins"
    try:
        args, kwargs = kind.signature.decode(arguments)
    except ArgumentsUnfit as error:
        return Unfit(str(error))
    try:
        if stop.request is not None:
            return Stopped(stop.request)
        if assignment.journal is not None:
            args = (await _context(assignment, assignment.journal), *args)
        if not kind.is_async:
            if assignment.timeout is not None:
                stop.limit(assignment.timeout)
            value = await _in_thread(threads, kind.function, args, kwargs)
            if hasattr(type(value), "__await__"):  # a plain wrapper around an async function
                value = await _awaited(cast("Awaitable[object]", value), assignment)
        elif assignment.timeout is None:
            value = await cast("Awaitable[object]", kind.function(*args, **kwargs))
        else:
            value = await _with_timeout(cast("Awaitable[object]", kind.function(*args, **kwargs)), assignment.timeout)
        if assignment.journal is not None:
            assignment.journal.raise_if_doubtful()
        return NOTHING if value is None else Returned(encode_result(value, limit=RESULT_LIMIT))
    except Interrupted:
        return Stopped(stop.request or "shutdown")
    except asyncio.CancelledError as error:
        return _raised(error, assignment) if stop.request is None else Stopped(stop.request)
    except Snooze as snooze:
        return _snoozed(snooze, assignment)
    except (StoreUnreachable, OutcomeUnknown) as error:
        # The store went away under the job: no fault of its code. It goes on from its last committed slice.
        return Lost(str(error))
    except BaseException as error:
        # SystemExit or KeyboardInterrupt in a job is an error of the job, not the end of the worker.
        return _raised(error, assignment)


def evidence(error: BaseException) -> JobError:
    """An exception as it is kept with the job."""
    return evidence_of(error, _from_user_code(error.__traceback__))


def _snoozed(snooze: Snooze, assignment: Assignment) -> Outcome:
    try:
        return Snoozed(microseconds(snooze.duration), f"snoozed: {storable(str(snooze), LONGEST_REASON)}")
    except Exception as broken:  # a class of the user's that is made of it may lack anything
        return _raised(broken, assignment)


def _raised(error: BaseException, assignment: Assignment) -> Raised:
    """The error, with what the kind's options or the error itself say of further attempts."""
    options, claimed = assignment.kind.options, assignment.claimed
    has_own_backoff = options.backoff_function is None or Options.decode(claimed.options).backoff is not None
    attempt = claimed.errors + 1
    try:
        wait, why = verdict_on(
            error,
            attempt,
            retry_on=options.retry_on,
            give_up_on=options.give_up_on,
            backoff=None if has_own_backoff else options.backoff_function,
        )
    except BaseException:
        log.exception("job %s: the backoff of %s failed; the usual one is taken", claimed.job, assignment.kind.kind)
        wait, why = Verdict()
    return Raised(evidence(error), wait, None if why is None else storable(why, LONGEST_REASON))


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from where it enters the job's own code."""
    here = trace
    while here is not None and here.tb_frame.f_globals.get("__name__") == __name__:
        here = here.tb_next
    return here or trace


async def _context(assignment: Assignment, journal: Journal) -> Context:
    claimed = assignment.claimed
    if claimed.epoch > 1:  # at the first claim there is nothing to go on from
        await journal.load()
    scheduled_at = Options.decode(claimed.options).scheduled_at
    return Context(
        journal,
        job_id=claimed.job,
        attempt=claimed.errors + 1,
        is_async=assignment.kind.is_async,
        scheduled_at=None if scheduled_at is None else moment(scheduled_at),
    )


async def _awaited(value: Awaitable[object], assignment: Assignment) -> object:
    """What a plain function gave to be awaited, unless the job was asked to stop meanwhile."""
    stop = assignment.stop
    if stop.is_due:
        getattr(value, "close", _nothing)()  # a coroutine that was never begun
        stop.raise_if_asked()
    stop.is_awaited = True
    if assignment.timeout is None:
        return await value
    return await _with_timeout(value, assignment.timeout, stop.seconds_left)


def _nothing() -> None:
    """What there is to close of a future."""


async def _with_timeout(running: Awaitable[object], timeout: float, left: float | None = None) -> object:
    """`left` is what is left of the timeout, where some of it is over."""
    clock = asyncio.timeout(timeout if left is None else left)
    try:
        async with clock:
            return await running
    except TimeoutError as error:
        if clock.expired():
            raise TimeoutError(f"the job took longer than its timeout of {timeout:g} s") from error
        raise


async def _in_thread(
    threads: Threads[ValueOrError], function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    # Each job in a context of its own: what one sets the next must not see.
    context = contextvars.copy_context()
    value, error = await threads.run(lambda: context.run(_called, function, args, kwargs))
    if error is not None:
        raise error
    return value


def _called(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> ValueOrError:
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # some, as StopIteration and GeneratorExit, mean something to a future
        return None, error
