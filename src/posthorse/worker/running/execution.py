"""The execution of one job, from its arguments to its outcome. It knows neither the database nor the queue.

1. The arguments are decoded. 2. A job with a context loads its last checkpoint. 3. Its code runs inside its middleware
(`onion`), with its resources, on the event loop or in a thread. 4. Whatever the code did becomes an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, cast

import msgspec

from posthorse.clock import microseconds
from posthorse.errors import CodecError, Interrupted, OutcomeUnknown, StoreUnreachable
from posthorse.rules.arguments.signature import ArgumentsUnfit
from posthorse.rules.metadata import OF_RUNNING_JOB
from posthorse.rules.middleware import Layer
from posthorse.rules.outcomes import Joined, Lost, Outcome, Raised, Returned, Skipped, Snoozed, Stopped, Unfit
from posthorse.rules.packing import PACKED, PLAIN, JobTexts, Packing
from posthorse.rules.steering import GiveUp, Steering, Verdict, leaves, only_error_of, skip_in, snooze_in, verdict_on
from posthorse.rules.values.results import encode_result
from posthorse.rules.values.texts import message_of
from posthorse.store.operations.parts import results_of_parts
from posthorse.telemetry.tracing import is_traced
from posthorse.worker.base import structlog_fields
from posthorse.worker.base.log_capture import JOB
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.checkpoints.about_job import AboutJob
from posthorse.worker.checkpoints.context import Context
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.running.code_errors import evidence
from posthorse.worker.running.frameworks import CONNECTION_HYGIENE, has_framework
from posthorse.worker.running.onion import AttemptParts, Onion
from posthorse.worker.running.parts import Combine, are_over, joining
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.resources import with_resources
from posthorse.worker.running.threads import CallRunner

RESULT_LIMIT = 4 * 1024 * 1024
NOTHING = Returned("null")
UNSTORABLE = "its result cannot be stored"
UNASKED = (
    "Interrupted was raised though nothing asked this job to stop; to be run later raise ph.Snooze, to be tried again "
    "ph.Retry"
)

STORE_AWAY = (StoreUnreachable, OutcomeUnknown)
ASKING: tuple[type[BaseException], ...] = (
    Steering,
    Interrupted,
    asyncio.CancelledError,
    ArgumentsUnfit,
    *STORE_AWAY,
    BaseExceptionGroup,
)
"""Errors that may be something else than a failure; every other one is a failure, without a closer look."""

log = logging.getLogger("posthorse.worker")


class Runnable(AttemptParts, Protocol):
    """What to run, and the way to stop it."""

    @property
    def timeout(self) -> float | None:
        """Seconds that it may take."""
        ...

    @property
    def unfit(self) -> str | None:
        """Why this version of Posthorse cannot run it; None if it can."""
        ...

    @property
    def stop(self) -> StopSignal:
        """The stop signal of the job, with what was requested of it."""
        ...

    @property
    def journal(self) -> Journal | None:
        """The journal in which a job with a context saves its checkpoints; None for other jobs."""
        ...


class ToAwait(NamedTuple):
    """An awaitable that a plain function returned, as a wrapper around an async function does."""

    value: Awaitable[object]
    onion: Onion | None
    """The middleware to leave once the value was awaited."""


FromThread = Outcome | ToAwait
"""What comes out of a thread: the outcome of the job, or an awaitable that must still run on the loop."""


class Surroundings(NamedTuple):
    """What the attempts in one executor have in common. `home` names their own store, as errors do.

    of_process: the resources that jobs of this process share. combiners: what joins the results of parts, by kind.
    """

    threads: CallRunner[FromThread]
    home: str
    of_process: ProcessResources
    packing: Packing = PLAIN
    combiners: Mapping[str, Combine] = {}


async def run(runnable: Runnable, middleware: Sequence[Layer], around: Surroundings) -> Outcome:
    """Run the job to its outcome, whatever its code does."""
    kind, stop, claimed, options = runnable.kind, runnable.stop, runnable.claimed, runnable.options
    journal = runnable.journal
    job = (claimed.job, kind.kind, claimed.errors + 1, claimed.epoch)
    JOB.set(job)
    if structlog_fields.is_loaded():
        structlog_fields.bind(job)
    if runnable.unfit is not None:
        return Unfit(runnable.unfit)
    if options.metadata is not None or OF_RUNNING_JOB.get() is not None:
        OF_RUNNING_JOB.set(options.metadata)  # also none, because one task may run several jobs, one after the other
    try:
        if stop.request is not None:
            return stop.stopped()
        texts = around.packing.of_stored(claimed.job, claimed.options)
        function, context, inside, is_cut = kind.function, None, None, False
        if journal is not None:
            context = await _context(runnable, journal)
            if claimed.epoch > 1 and _may_be_cut(runnable):
                rows = await journal.aread(results_of_parts(claimed.job))
                if not are_over(rows):
                    return Joined()  # a part was retried after this attempt began
                if rows:
                    journal.joined = (journal.children,)  # parts are children
                    combine = around.combiners.get(kind.kind)
                    function, is_cut = joining(rows, kind, combine, around.packing), True
        if has_framework():
            middleware = (*CONNECTION_HYGIENE, *middleware)
        if is_traced():
            middleware = (_span_around(runnable), *middleware)
        if middleware or kind.resources is not None:
            inside = Onion(middleware, runnable, asyncio.get_running_loop())
            if kind.resources is not None and not is_cut:
                function = with_resources(kind, kind.resources, inside, context, around.of_process)
        timeout = runnable.timeout
        # What goes on elsewhere takes its values by `partial`: a closure would make a cell of each, for every job.
        if not kind.is_async:
            if timeout is not None:
                stop.limit(timeout)
            # Each job runs in its own context: the next job must not see the variables that this one sets.
            own = contextvars.copy_context()
            in_thread = partial(own.run, _in_thread, runnable, function, context, around.home, inside, texts)
            came = await around.threads.run(in_thread)  # pyright: ignore[reportArgumentType]  # it loses them at `own.run`
            if not isinstance(came, ToAwait):
                return came
            value = await _awaited_inside(came, own, runnable)
        else:
            args, kwargs = _arguments(runnable, context, texts)
            if inside is None:
                value = await _running(function, args, kwargs, timeout)
            else:
                value = await inside.arun(partial(_running, function, args, kwargs, timeout))
        return _after_return(value, runnable, texts)
    except BaseException as error:
        return _after_error(error, runnable, around.home)


def _span_around(runnable: Runnable) -> Layer:
    """Return the outermost middleware of an attempt in a process that traces."""
    from posthorse.telemetry.spans import note_slice, processing  # here, because it needs OpenTelemetry

    claimed, journal = runnable.claimed, runnable.journal
    if journal is not None:
        journal.listen(note_slice)
    span = partial(
        processing,
        options=claimed.options,
        is_first_and_due=claimed.epoch == 1 and claimed.run_at is None,
        links_always=runnable.kind.options.trace == "link",
        uncommitted_slice=lambda: None if journal is None else journal.uncommitted_slice,
    )
    return Layer(span, is_async=False)


def _in_thread(
    runnable: Runnable,
    function: Callable[..., object],
    context: Context | None,
    home: str,
    inside: Onion | None,
    texts: JobTexts,
) -> FromThread:
    """Run a plain job in this thread, including all that may call the user's code: argument checks, error texts."""
    try:
        args, kwargs = _arguments(runnable, context, texts)
        value = function(*args, **kwargs) if inside is None else inside.run(lambda: function(*args, **kwargs))
        if hasattr(type(value), "__await__"):
            return ToAwait(cast("Awaitable[object]", value), inside)
        return _after_return(value, runnable, texts)
    except BaseException as error:
        return _after_error(error, runnable, home)


def _running(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], timeout: float | None
) -> Awaitable[object]:
    """Start an async job, within its timeout."""
    running = cast("Awaitable[object]", function(*args, **kwargs))
    return running if timeout is None else _with_timeout(running, timeout)


def _arguments(
    runnable: Runnable, context: Context | None, texts: JobTexts
) -> tuple[tuple[object, ...], dict[str, object]]:
    arguments = runnable.claimed.arguments
    assert arguments is not None, "long ones are brought before a job begins"
    if arguments.startswith(PACKED):
        args, kwargs = _unpacked(runnable, arguments, texts)
    else:
        args, kwargs = runnable.kind.signature.decode(arguments)
    return ((context, *args) if runnable.kind.signature.wants_context else args), kwargs


def _unpacked(runnable: Runnable, packed: str, texts: JobTexts) -> tuple[tuple[object, ...], dict[str, object]]:
    """Decode packed arguments, and leave them unpacked for the middleware. Raises ArgumentsUnfit.

    The error does not quote the arguments, because it becomes the reason of the job, and reasons are not packed.
    """
    try:
        arguments = texts.unpack(packed, "arguments")
    except CodecError as error:
        raise ArgumentsUnfit(str(error)) from error
    runnable.claimed = runnable.claimed._replace(arguments=arguments)
    try:
        return runnable.kind.signature.decode(arguments)
    except ArgumentsUnfit as error:
        log.info("job %s (%s): %s", runnable.claimed.job, runnable.kind.kind, error)
        raise ArgumentsUnfit(
            f"the stored arguments do not fit {runnable.kind.kind}() as it is now; they are packed, so only the log of "
            "its worker says more, at level INFO"
        ) from error


def _may_be_cut(runnable: Runnable) -> bool:
    options = runnable.options
    return options.part is None and (options.shards or runnable.kind.options.shards) is not None


def _after_return(value: object, runnable: Runnable, texts: JobTexts) -> Outcome:
    if runnable.journal is not None:
        if runnable.journal.split is not None:  # its code went on after the loop that was cut
            return runnable.journal.split
        runnable.journal.conclude()
    if value is None and not texts.is_on:
        return _after_children(NOTHING, runnable)
    try:
        result = encode_result(value, limit=RESULT_LIMIT)
        return _after_children(Returned(texts.pack(result, "result") if texts.is_on else result), runnable)
    except MemoryError:
        raise
    except BaseException as error:
        # The job has already done its work: another attempt would repeat it, only to return the same value.
        return Raised(evidence(error), gives_up=UNSTORABLE)


def _after_children(returned: Returned, runnable: Runnable) -> Outcome:
    """Return the same; or that the job, with that result, is over only after its children."""
    journal = runnable.journal
    if journal is None or not journal.waits_for_children:
        return returned
    return Joined(returned.result, len(journal.joined))


def _after_error(error: BaseException, runnable: Runnable, home: str) -> Outcome:
    try:
        return _asked_for(error, runnable, home) or _raised(error, runnable)
    except BaseException as broken:  # classes that users derive from ours may lack anything
        return _raised(broken, runnable)


def _asked_for(error: BaseException, runnable: Runnable, home: str) -> Outcome | None:
    """Return the outcome of an error that is not a failure of the job; None if it is one.

    In an exception group, giving up comes first, then a stop that was requested, then the loss of the store. A snooze
    counts only if the group has none of these.
    """
    if not isinstance(error, ASKING):
        return None
    parts, stop = leaves(error), runnable.stop
    is_stopped = any(isinstance(part, Interrupted) for part in parts)
    if is_stopped and stop.request is None and runnable.journal is not None and runnable.journal.split is not None:
        return runnable.journal.split
    if isinstance(error, ArgumentsUnfit):
        return Unfit(message_of(error))
    if any(isinstance(part, GiveUp) for part in parts):
        return None
    if stop.request is not None and (is_stopped or any(isinstance(part, asyncio.CancelledError) for part in parts)):
        return stop.stopped()
    if is_stopped and stop.outcome is not None:
        return stop.outcome
    if is_stopped and stop.obeyed is not None:
        return Stopped("shutdown")  # what it obeyed was withdrawn after that: another runner resumes it
    if is_stopped and stop.is_overdue:
        return _raised(stop.timed_out(), runnable)
    if any(isinstance(part, STORE_AWAY) and part.where == home for part in parts):
        # The store became unreachable, and the job's code is not at fault: it resumes after its last committed slice.
        return Lost(message_of(only_error_of(error)))
    if (skip := skip_in(error)) is not None:
        return Skipped(f"skipped: {message_of(skip)}")
    snooze = snooze_in(error)
    return None if snooze is None else Snoozed(microseconds(snooze.duration), f"snoozed: {message_of(snooze)}")


def _raised(error: BaseException, runnable: Runnable) -> Raised:
    """Return the failure, with what the error itself or the kind's options say about further attempts."""
    options, claimed = runnable.kind.options, runnable.claimed
    has_own_backoff = options.backoff_function is None or runnable.options.backoff is not None
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
        of_which = (claimed.job, runnable.kind.kind, attempt)
        log.exception("job %s (%s, attempt %d): its backoff function failed; the usual backoff is taken", *of_which)
        wait, why = Verdict()
    told = evidence(error)
    if isinstance(error, Interrupted):
        told = msgspec.structs.replace(told, message=f"{UNASKED}: {told.message}" if told.message else UNASKED)
    return Raised(told, wait, why)


async def _context(runnable: Runnable, journal: Journal) -> Context:
    claimed = runnable.claimed
    if claimed.epoch > 1:  # the first claim has no checkpoint to resume from
        try:
            await journal.load()
        except CodecError as error:  # the job waits for a worker that has the codec
            raise ArgumentsUnfit(str(error)) from error
    about = AboutJob(claimed.job, claimed.errors + 1, runnable.lane, runnable.options, runnable.kind)
    return Context(journal, about)


async def _awaited_inside(came: ToAwait, own: contextvars.Context, runnable: Runnable) -> object:
    """Await it, then leave the middleware in the context in which it was entered."""
    if came.onion is None:
        return await _awaited(came.value, runnable)
    error, value = None, None
    try:
        value = await _awaited(came.value, runnable)
    except GeneratorExit:
        raise
    except BaseException as raised:
        error = raised
    await came.onion.aleave(error, own)
    return value


async def _awaited(value: Awaitable[object], runnable: Runnable) -> object:
    """Await what a plain function returned, unless the job was asked to stop meanwhile."""
    stop = runnable.stop
    if stop.is_due:
        getattr(value, "close", _nothing)()  # a coroutine that was never started
        stop.raise_if_asked()
    stop.is_awaited = True
    if runnable.timeout is None:
        return await value
    return await _with_timeout(value, runnable.timeout, stop.seconds_left)


def _nothing() -> None:
    """Do nothing: a future has nothing to close."""


async def _with_timeout(running: Awaitable[object], timeout: float, left: float | None = None) -> object:
    """Await it within the timeout. `left`: the seconds that remain of the timeout, if some of it has passed."""
    clock = asyncio.timeout(timeout if left is None else left)
    try:
        async with clock:
            return await running
    except TimeoutError as error:
        if clock.expired():
            raise TimeoutError(f"the job took longer than its timeout of {timeout:g} s") from error
        raise
