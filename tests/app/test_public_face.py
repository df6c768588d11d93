"""The public face: which names exist, and that the sync and async forms of each verb agree."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

import posthorse as ph

NAMES = """
__version__ About AsyncConnection Attempt Backoff BadItem Batch Bundle Call ChildFailed Chunk Codec CodecError Command
CommandBus Concurrency Connection Context Count csv depends DuplicateKind ended Estimate Event events EventTimeout
files Flow FlowStep GiveUp Graph GraphEdge GraphNode Interrupted InvalidArgument InvalidCall InvalidOption
InvalidSettings InvalidSource InvalidTransition Job JobCancelled JobError JobFailed JobFields JobForgotten JobNotFound
Jobs Keep Key KeyConflict KeyedStock keyset Kind lines LogLine Misfire Node NotUnique OutcomeUnknown Outputs Page
Posthorse PosthorseError previous PreviousStep Progress Queue QueueClosed QueueFull QueueSettings Range Rate Reason
ResultExpired Retry rows RunningAttempt Schedule ScheduleNotFound ScheduleState ScheduleStatus SchemaMismatch Searched
Sequence Skip Snooze State Status Stock StockEmpty StockNotFound StockStatus StoreError StoreUnreachable Submission
Throttle ToleranceExceeded TookTooLong TooLarge Unique UnknownCommand UnknownKind UsageError Why WorkerMetrics
"""


def test_the_exported_names_are_these() -> None:
    assert sorted(ph.__all__) == sorted(NAMES.split())
    assert all(hasattr(ph, name) for name in ph.__all__)


def test_nothing_else_is_public_but_modules() -> None:
    others = {name for name, value in vars(ph).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert others - {"VERSION"} <= set(ph.__all__)


def twins() -> Iterator[tuple[type, str, str]]:
    for face in (
        ph.Posthorse,
        ph.Kind,
        ph.Call,
        ph.CommandBus,
        ph.Flow,
        ph.FlowStep,
        ph.Job,
        ph.Jobs,
        ph.Context,
        ph.Batch,
        ph.Queue,
        ph.Schedule,
        ph.Stock,
        ph.KeyedStock,
    ):
        for name in dir(face):
            twin = f"a{name}"
            if not name.startswith("_") and hasattr(face, twin) and inspect.isfunction(getattr(face, name)):
                yield face, name, twin


def test_these_verbs_have_an_async_twin() -> None:
    assert sorted(f"{face.__name__}.{name}" for face, name, _ in twins()) == [
        "Batch.commit",
        "Call.enqueue",
        "CommandBus.enqueue",
        "CommandBus.handle",
        "Context.add",
        "Context.add_many",
        "Context.checkpoint",
        "Context.join",
        "Context.sleep",
        "Context.step",
        "Context.wait_event",
        "Flow.enqueue",
        "FlowStep.context",
        "FlowStep.output",
        "FlowStep.previous_steps",
        "Job.attempts",
        "Job.bad_items",
        "Job.cancel",
        "Job.delete",
        "Job.discard",
        "Job.events",
        "Job.graph",
        "Job.logs",
        "Job.parts",
        "Job.pause",
        "Job.result",
        "Job.resume",
        "Job.retry",
        "Job.retry_bad_items",
        "Job.retry_with",
        "Job.status",
        "Job.why",
        "Jobs.cancel",
        "Jobs.count",
        "Jobs.counted",
        "Jobs.discard",
        "Jobs.page",
        "Jobs.pause",
        "Jobs.resume",
        "Jobs.retry",
        "KeyedStock.empty",
        "KeyedStock.forget",
        "KeyedStock.get",
        "KeyedStock.refill",
        "KeyedStock.refresh",
        "KeyedStock.status",
        "KeyedStock.why",
        "Kind.enqueue",
        "Posthorse.enqueue_many",
        "Posthorse.figures",
        "Posthorse.send_event",
        "Queue.drain",
        "Queue.pause",
        "Queue.reset",
        "Queue.resume",
        "Queue.set",
        "Queue.settings",
        "Schedule.pause",
        "Schedule.resume",
        "Schedule.status",
        "Schedule.trigger",
        "Stock.empty",
        "Stock.refill",
        "Stock.set_level",
        "Stock.status",
        "Stock.take",
        "Stock.take_many",
        "Stock.why",
    ]


@pytest.mark.parametrize(("face", "name", "twin"), list(twins()), ids=lambda value: getattr(value, "__name__", value))
def test_both_colours_of_a_verb_have_one_signature(face: type, name: str, twin: str) -> None:
    sync, async_ = getattr(face, name), getattr(face, twin)
    assert inspect.iscoroutinefunction(async_)
    assert not inspect.iscoroutinefunction(sync)
    assert inspect.signature(sync) == inspect.signature(async_)
    assert async_.__qualname__ == f"{sync.__qualname__.removesuffix(name)}{twin}"
    assert sync.__doc__
    assert async_.__doc__
    assert async_.__doc__ == sync.__doc__ or f"`{name}`" in async_.__doc__, "the same words, or where they are"


def test_every_async_verb_is_the_twin_of_one() -> None:
    known = {f"{face.__name__}.{twin}" for face, _, twin in twins()}
    for face in (ph.Posthorse, ph.Kind, ph.Call, ph.Job, ph.Jobs, ph.Context, ph.Batch, ph.Queue, ph.Schedule):
        for name, _ in inspect.getmembers(face, inspect.iscoroutinefunction):
            assert name.startswith("_") or f"{face.__name__}.{name}" in known


def test_every_public_function_says_what_it_does() -> None:
    for face in (ph.Posthorse, ph.Kind, ph.Call, ph.Job, ph.Jobs, ph.Context, ph.Batch, ph.Queue, ph.Status):
        assert face.__doc__
        for name, value in inspect.getmembers(face):
            if inspect.isfunction(value) and not name.startswith("_"):
                assert value.__doc__, f"{face.__name__}.{name}"


def test_errors_form_one_tree() -> None:
    values = [getattr(ph, name) for name in ph.__all__]
    errors = [value for value in values if isinstance(value, type) and issubclass(value, BaseException)]
    assert all(issubclass(error, ph.PosthorseError) for error in errors if error is not ph.Interrupted)
    assert not issubclass(ph.Interrupted, Exception)
    assert issubclass(ph.UsageError, ValueError)
    assert issubclass(ph.JobNotFound, LookupError)
