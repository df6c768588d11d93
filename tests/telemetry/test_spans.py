"""Spans of jobs in a process that traces: their names, their relations, what they say of errors and slices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.span import TraceState

import posthorse as ph
from posthorse.rules.job import Options
from posthorse.rules.middleware import RunningAttempt
from posthorse.store.operations import read
from posthorse.telemetry import tracing
from posthorse.telemetry.spans import is_shown, processing
from tests.waiting import until, until_state


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Return what is exported; this process traces as long as the test runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # it can be set once only
    return exporter


def named(exporter: InMemorySpanExporter, name: str, count: int = 1) -> list[ReadableSpan]:
    """Return the spans of a name once there are so many, in the order in which they ended."""

    def found() -> list[ReadableSpan]:
        return [span for span in exporter.get_finished_spans() if span.name == name]

    until(lambda: len(found()) >= count, what=f"{count} spans {name}")
    return found()


def context(span: ReadableSpan) -> trace.SpanContext:
    found = span.get_span_context()
    assert isinstance(found, trace.SpanContext)
    return found


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def stored(app: ph.Posthorse, job: ph.Job[Any]) -> Options:
    row = app.store.read(read.job(job.id))
    assert row is not None
    return Options.decode(row.options)


# ── relations ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_that_runs_at_once_continues_the_trace_of_its_caller(
    app: ph.Posthorse, exporter: InMemorySpanExporter, is_async: bool
) -> None:
    def inside() -> None:
        trace.get_tracer("shop").start_span("inside").end()

    async def ainside() -> None:
        await asyncio.sleep(0)
        inside()

    kind: ph.Kind[[], object] = app.job(kind="welcome", queue="mail")(ainside if is_async else inside)
    with trace.get_tracer("shop").start_as_current_span("request") as request, app.worker():
        job = kind.enqueue()
        job.result(timeout=30)
    [send], [process], [inner] = (named(exporter, name) for name in ("send welcome", "process welcome", "inside"))
    assert parent(send) == request.get_span_context().span_id
    assert parent(process) == context(send).span_id
    assert parent(inner) == context(process).span_id
    assert {context(span).trace_id for span in (send, process, inner)} == {request.get_span_context().trace_id}
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert attributes(send) == {
        "messaging.system": "posthorse",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": job.id,
    }
    assert attributes(process) == {
        "messaging.system": "posthorse",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": job.id,
        "jobs.kind": "welcome",
        "jobs.attempt": 1,
        "jobs.outcome": "returned",
    }


def test_a_coroutine_enqueues_inside_a_span(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job
    def welcome() -> None: ...

    async def request() -> ph.Job[None]:
        with trace.get_tracer("shop").start_as_current_span("request"):
            return await welcome.aenqueue()

    job = asyncio.run(request())
    [send], [asked] = named(exporter, "send welcome"), named(exporter, "request")
    assert parent(send) == context(asked).span_id
    carried = stored(app, job).trace
    assert carried is not None
    assert carried.parent.startswith(f"00-{context(send).trace_id:032x}-{context(send).span_id:016x}-")


@pytest.mark.parametrize("how", ["delayed", "batch", "link"])
def test_other_jobs_have_a_trace_of_their_own_that_links_to_their_caller(
    app: ph.Posthorse, exporter: InMemorySpanExporter, how: str
) -> None:
    kind = app.job(kind="welcome", trace="link" if how == "link" else "child")(lambda: None)
    with trace.get_tracer("shop").start_as_current_span("request"), app.worker():
        if how == "batch":
            jobs: Sequence[ph.Job[Any]] = app.enqueue_many([kind.bind(), kind.bind()])
        else:
            jobs = [(kind.using(delay=0.05) if how == "delayed" else kind).enqueue()]
        for job in jobs:
            job.result(timeout=30)
    [send] = named(exporter, "send welcome")
    for process in named(exporter, "process welcome", len(jobs)):
        assert parent(process) is None
        assert linked(process) == [context(send).span_id]
        assert context(process).trace_id != context(send).trace_id
    if how == "batch":
        assert attributes(send)["messaging.batch.message_count"] == 2
        assert "messaging.message.id" not in attributes(send)


def test_later_attempts_link_and_errors_are_recorded(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job(backoff=0)
    def fails_once(path: str) -> None:
        if not tries:
            tries.append(1)
            raise ValueError("not yet")

    tries: list[int] = []
    with app.worker():
        fails_once.enqueue("x").result(timeout=30)
    first, second = named(exporter, "process fails_once", 2)
    [send] = named(exporter, "send fails_once")
    assert (parent(first), linked(first)) == (context(send).span_id, [])
    assert (parent(second), linked(second)) == (None, [context(send).span_id])
    assert [attributes(span)["jobs.attempt"] for span in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "ValueError: not yet"
    assert attributes(first)["error.type"] == "ValueError"
    assert [event.name for event in first.events] == ["exception"]
    assert second.status.status_code is StatusCode.UNSET


def test_a_snooze_is_not_an_error(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job
    def waits() -> None:
        raise ph.Snooze("1h")

    with app.worker():
        until_state(waits.enqueue(), "scheduled")
    [process] = named(exporter, "process waits")
    assert (process.status.status_code, process.events) == (StatusCode.UNSET, ())
    assert attributes(process)["jobs.outcome"] == "snoozed"


def test_a_job_that_could_not_be_sent_is_an_error(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job
    def welcome(user: int) -> None: ...

    job = welcome.using(key="k").enqueue(1)
    welcome.using(key="k").enqueue(1)
    with pytest.raises(ph.KeyConflict):
        welcome.using(key="k").enqueue(2)
    first, again, refused = named(exporter, "send welcome", 3)
    assert attributes(first)["messaging.message.id"] == attributes(again)["messaging.message.id"] == job.id
    assert "messaging.message.id" not in attributes(refused)
    assert (refused.status.status_code, attributes(refused)["error.type"]) == (StatusCode.ERROR, "KeyConflict")


def test_a_job_does_not_continue_a_trace_that_is_current_in_its_worker(exporter: InMemorySpanExporter) -> None:
    """As where an instrumentation of threads hands the context on in which the worker was started."""
    attempt = RunningAttempt("1", "welcome", "default", None, 1, False, {}, dict)
    with trace.get_tracer("shop").start_as_current_span("request"):
        span = processing(
            attempt, options=None, is_first_and_due=True, links_always=False, uncommitted_slice=lambda: None
        )
        next(span)
        assert next(span, None) is None
    [process] = named(exporter, "process welcome")
    assert (parent(process), process.links) == (None, ())


# ── what a job carries ───────────────────────────────────────────────────────────────────────────────


def test_a_job_carries_nothing_where_no_span_records(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.job
    def welcome() -> None: ...

    assert stored(app, welcome.enqueue()).trace is None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    assert tracing.is_traced()
    assert stored(app, welcome.enqueue()).trace is None


@pytest.mark.parametrize(("entries", "kept"), [(1, True), (15, False)])
def test_a_trace_state_that_is_too_long_is_left_out(
    app: ph.Posthorse, exporter: InMemorySpanExporter, entries: int, kept: bool
) -> None:
    @app.job
    def welcome() -> None: ...

    state = TraceState([(f"vendor{number}", "v" * 40) for number in range(entries)])
    remote = trace.SpanContext(7, 9, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    with trace.use_span(trace.NonRecordingSpan(remote)):
        carried = stored(app, welcome.enqueue()).trace
    assert carried is not None
    assert carried.parent.startswith(f"00-{7:032x}-")
    assert carried.state == (f"vendor0={'v' * 40}" if kept else "")


def test_a_newer_job_brings_its_trace_to_the_one_that_it_supersedes(
    app: ph.Posthorse, exporter: InMemorySpanExporter
) -> None:
    @app.job(unique=ph.Unique(by=("user",), on_conflict="replace"))
    def welcome(user: int, text: str) -> None: ...

    welcome.enqueue(1, "old")
    job = welcome.enqueue(1, "new")
    _, newer = named(exporter, "send welcome", 2)
    carried = stored(app, job).trace
    assert carried is not None
    assert carried.parent.split("-")[2] == f"{context(newer).span_id:016x}"


def test_bulk_calls_stay_cheap(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job
    def welcome(user: int) -> None: ...

    jobs = app.enqueue_many([welcome.bind(user) for user in range(50)])
    [_] = named(exporter, "send welcome")
    assert len({stored(app, job) for job in jobs}) == 1, "one text for all, so they are still written alike"


# ── slices ───────────────────────────────────────────────────────────────────────────────────────────


def test_few_slices_have_a_span_and_the_one_that_fails_has(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(100), size=1, name="users"):
            if batch.number == 12:
                raise ValueError("bad user")

    with app.worker():
        until_state(long.enqueue(), "failed")
    [process] = named(exporter, "process long")
    spans = named(exporter, "slice", 5)
    assert [attributes(span).get("jobs.slice") for span in spans] == [1, 2, 5, 10, None]
    assert {parent(span) for span in spans} == {context(process).span_id}
    assert {attributes(span)["jobs.loop"] for span in spans} == {"users"}
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET] * 4 + [StatusCode.ERROR]
    assert all(
        span.start_time is not None and span.start_time >= (process.start_time or 0) - 1_000_000 for span in spans
    )


def test_async_slices_have_spans(app: ph.Posthorse, exporter: InMemorySpanExporter) -> None:
    @app.job
    async def long(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(3), size=1):
            async with batch.transaction():
                pass

    with app.worker():
        long.enqueue().result(timeout=30)
    [process] = named(exporter, "process long")
    assert [attributes(span)["jobs.slice"] for span in named(exporter, "slice", 2)] == [1, 2]
    assert {parent(span) for span in named(exporter, "slice", 2)} == {context(process).span_id}


def test_a_million_slices_have_nineteen_spans() -> None:
    shown = [number for number in range(1, 1_000_001) if is_shown(number)]
    assert shown[:9] == [1, 2, 5, 10, 20, 50, 100, 200, 500]
    assert len(shown) == 19


# ── without ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_does_not_trace_never_imports_opentelemetry(tmp_path: Path) -> None:
    program = f"""
import sys
import posthorse as ph
app = ph.Posthorse("sqlite:///{tmp_path}/jobs.db")
@app.job
def welcome(ctx: ph.Context) -> None:
    for batch in ctx.slices(range(3)):
        pass
with app.worker():
    welcome.enqueue().result(timeout=30)
    import opentelemetry.trace  # as a library of the application may do
    welcome.enqueue().result(timeout=30)
    assert "posthorse.telemetry.tracing" in sys.modules
print(*[name for name in sys.modules if name.startswith("opentelemetry.sdk")])
assert app.jobs().counted()
"""
    early = program.replace("    import opentelemetry.trace  # as a library of the application may do\n", "")
    early = early.replace('"opentelemetry.sdk"', '("opentelemetry", "posthorse.telemetry.spans")')
    for each in (early, program):
        ran = subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True, timeout=60)
        assert ran.stdout.split() == []
