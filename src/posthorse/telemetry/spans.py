"""Spans of jobs, made with the API of OpenTelemetry alone: `send KIND`, `process KIND` and `slice`.

Names and attributes follow the conventions for messaging. A job carries the W3C context of its `send` span in its
options, if that span records. The first attempt of a job that was to run at once is a child of `send`. All other
attempts begin traces of their own, with a link to it: a trace would else last for days, or have a thousand roots.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from posthorse.clock import monotonic
from posthorse.errors import Interrupted, OutcomeUnknown, StoreUnreachable
from posthorse.rules.events import SliceCommitted
from posthorse.rules.job import NewJob, Options
from posthorse.rules.middleware import RunningAttempt
from posthorse.rules.steering import Skip, Snooze, leaves
from posthorse.rules.trace import MAX_STATE, TraceContext
from posthorse.rules.values.texts import message_of
from posthorse.version import VERSION

SYSTEM = "posthorse"
_W3C = TraceContextTextMapPropagator()


class Handle(Protocol):
    """The handle of a job."""

    @property
    def id(self) -> str:
        """The id of the job."""
        ...


H = TypeVar("H", bound=Handle)


def has_provider() -> bool:
    """Return whether the application has set a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def trace_id_now() -> str | None:
    """Return the id of the current trace; None outside of one."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────


def sending(
    jobs: Sequence[NewJob], enqueue: Callable[[Sequence[NewJob]], Generator[Any, Any, list[H]]]
) -> Generator[Any, Any, list[H]]:
    """Enqueue jobs inside a span, whose context they carry."""
    kinds = {job.lane.kind for job in jobs}
    attributes: dict[str, str | int] = _attributes("send", _queue_of(jobs))
    if len(jobs) > 1:
        attributes["messaging.batch.message_count"] = len(jobs)
    name = f"send {kinds.pop()}" if len(kinds) == 1 else "send jobs"
    with _tracer().start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes) as span:
        if span.is_recording():
            jobs = _with_context(jobs, _context_of(span, is_batch=len(jobs) > 1))
        try:
            made = yield from enqueue(jobs)
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise
        if len(made) == 1:  # an earlier one, if a key matched it
            span.set_attribute("messaging.message.id", made[0].id)
        return made


def _queue_of(jobs: Sequence[NewJob]) -> str | None:
    queues = {job.lane.queue for job in jobs}
    return queues.pop() if len(queues) == 1 else None


def _context_of(span: Span, *, is_batch: bool) -> TraceContext:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    state = carrier.get("tracestate", "")
    return TraceContext(carrier["traceparent"], state if len(state) <= MAX_STATE else "", is_batch)


def _with_context(jobs: Sequence[NewJob], context: TraceContext) -> Sequence[NewJob]:
    options = {text: Options.decode(text).traced(context) for text in {job.options for job in jobs}}
    return [msgspec.structs.replace(job, options=options[job.options]) for job in jobs]


# ── processing ───────────────────────────────────────────────────────────────────────────────────────


def processing(
    attempt: RunningAttempt,
    *,
    options: str | None,
    is_first_and_due: bool,
    links_always: bool,
    uncommitted_slice: Callable[[], tuple[str, float] | None],
) -> Iterator[None]:
    """Run an attempt inside a span; a middleware, once all but the attempt is given."""
    parent, links = _relation(options, is_child=is_first_and_due and not links_always)
    attributes = {
        **_attributes("process", attempt.queue),
        "messaging.message.id": attempt.job,
        "jobs.kind": attempt.kind,
        "jobs.attempt": attempt.attempt,
    }
    with _tracer().start_as_current_span(
        f"process {attempt.kind}",
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            outcome = _outcome_of(error)
            span.set_attribute("jobs.outcome", outcome)
            if outcome == "raised":
                if (failed := uncommitted_slice()) is not None:
                    _note_failed_slice(*failed, error)
                _note_error(span, error)
            raise
        span.set_attribute("jobs.outcome", "returned")


def _relation(options: str | None, *, is_child: bool) -> tuple[Context, Sequence[Link]]:
    """Return the context in which the span of an attempt begins, and its links.

    The context that is current here belongs to the worker, or to the code that started it, and is none of its business.
    """
    stored = Options.decode(options).trace
    if stored is None:
        return Context(), ()
    carrier = {"traceparent": stored.parent, "tracestate": stored.state}
    context = _W3C.extract(carrier, Context())
    if is_child and not stored.is_batch:
        return context, ()
    sent = trace.get_current_span(context).get_span_context()
    return Context(), (Link(sent),) if sent.is_valid else ()


def _outcome_of(error: BaseException) -> str:
    parts = leaves(error)
    if any(isinstance(part, Interrupted | asyncio.CancelledError) for part in parts):
        return "stopped"
    if any(isinstance(part, Snooze) for part in parts):
        return "snoozed"
    if any(isinstance(part, Skip) for part in parts):
        return "skipped"
    if any(isinstance(part, StoreUnreachable | OutcomeUnknown) for part in parts):
        return "lost"
    return "raised"


def _note_error(span: Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__qualname__}: {message_of(error)}"))


# ── slices ───────────────────────────────────────────────────────────────────────────────────────────


def note_slice(event: SliceCommitted) -> None:
    """Make the span of a slice that was committed, for a few of them: the 1st, 2nd, 5th, 10th, 20th …; a listener."""
    if is_shown(event.slices):
        span = _slice_span(event.loop, event.seconds)
        span.set_attribute("jobs.slice", event.slices)
        span.set_attribute("jobs.items", event.items)
        span.end()


def is_shown(number: int) -> bool:
    """Return whether the slice of that number has a span: 1, 2, 5, 10, 20, 50 …; so a million slices have nineteen."""
    while number % 10 == 0:
        number //= 10
    return number in (1, 2, 5)


def _note_failed_slice(loop: str, began: float, error: BaseException) -> None:
    span = _slice_span(loop, monotonic() - began)
    _note_error(span, error)
    span.end()


def _slice_span(loop: str, seconds: float) -> Span:
    """Begin a span that began so long ago. It is a child of the attempt's, in whose thread or task this is called."""
    began = time.time_ns() - int(seconds * 1e9)
    return _tracer().start_span("slice", start_time=began, attributes={"jobs.loop": loop})


def _attributes(operation: str, queue: str | None) -> dict[str, str | int]:
    named = {} if queue is None else {"messaging.destination.name": queue}
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        **named,
    }


def _tracer() -> trace.Tracer:
    return trace.get_tracer("posthorse", VERSION)
