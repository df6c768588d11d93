"""Posthorse: background jobs that run long, in slices, and never lose their place.

Each name is imported at its first use, so that processes that only enqueue do not import what a worker needs.
"""

import importlib
import typing

from posthorse.version import VERSION

if typing.TYPE_CHECKING:
    from posthorse.app.bundle import Bundle
    from posthorse.app.call import Call
    from posthorse.app.client import Posthorse
    from posthorse.app.command_bus import CommandBus
    from posthorse.app.commands import Command
    from posthorse.app.flow import Flow
    from posthorse.app.job import Job
    from posthorse.app.jobs import Jobs
    from posthorse.app.kind import Kind
    from posthorse.app.node import Node
    from posthorse.app.page import Count, Page, Searched
    from posthorse.app.queues import Queue
    from posthorse.app.schedules import Schedule
    from posthorse.app.stock import Stock
    from posthorse.app.stock_keys import KeyedStock
    from posthorse.errors import (
        CodecError,
        DuplicateKind,
        EventTimeout,
        Interrupted,
        InvalidArgument,
        InvalidCall,
        InvalidOption,
        InvalidSettings,
        InvalidSource,
        InvalidTransition,
        JobCancelled,
        JobFailed,
        JobForgotten,
        JobNotFound,
        KeyConflict,
        NotUnique,
        OutcomeUnknown,
        PosthorseError,
        QueueClosed,
        QueueFull,
        ResultExpired,
        ScheduleNotFound,
        SchemaMismatch,
        StockEmpty,
        StockNotFound,
        StoreError,
        StoreUnreachable,
        ToleranceExceeded,
        TookTooLong,
        TooLarge,
        UnknownCommand,
        UnknownKind,
        UsageError,
    )
    from posthorse.rules import events
    from posthorse.rules.arguments.outputs import ended, previous
    from posthorse.rules.depends import depends
    from posthorse.rules.events import Event
    from posthorse.rules.flow_graph import Graph, GraphEdge, GraphNode
    from posthorse.rules.job import Attempt, BadItem, JobError, State, Status
    from posthorse.rules.job_logs import LogLine
    from posthorse.rules.keys import Key
    from posthorse.rules.limits import Concurrency, Rate, Sequence
    from posthorse.rules.middleware import RunningAttempt, Submission
    from posthorse.rules.packing import About, Codec
    from posthorse.rules.progress import Progress
    from posthorse.rules.queues import QueueSettings
    from posthorse.rules.ranges import Range
    from posthorse.rules.retention import Keep
    from posthorse.rules.retry import Backoff
    from posthorse.rules.schedules import Misfire, ScheduleState, ScheduleStatus
    from posthorse.rules.steering import ChildFailed, GiveUp, Retry, Skip, Snooze
    from posthorse.rules.stock import StockStatus
    from posthorse.rules.throttle import Throttle
    from posthorse.rules.unique import Unique
    from posthorse.rules.why.answer import Estimate, Reason, Why
    from posthorse.store.connections import AsyncConnection, Connection
    from posthorse.worker.base.job_fields import JobFields
    from posthorse.worker.checkpoints.batch import Batch
    from posthorse.worker.checkpoints.context import Context
    from posthorse.worker.checkpoints.flow_step import FlowStep, PreviousStep
    from posthorse.worker.checkpoints.outputs import Outputs
    from posthorse.worker.checkpoints.sources import Chunk, csv, files, keyset, lines, rows
    from posthorse.worker.metrics import WorkerMetrics

__version__ = VERSION

__all__ = [
    "About",
    "AsyncConnection",
    "Attempt",
    "Backoff",
    "BadItem",
    "Batch",
    "Bundle",
    "Call",
    "ChildFailed",
    "Chunk",
    "Codec",
    "CodecError",
    "Command",
    "CommandBus",
    "Concurrency",
    "Connection",
    "Context",
    "Count",
    "DuplicateKind",
    "Estimate",
    "Event",
    "EventTimeout",
    "Flow",
    "FlowStep",
    "GiveUp",
    "Graph",
    "GraphEdge",
    "GraphNode",
    "Interrupted",
    "InvalidArgument",
    "InvalidCall",
    "InvalidOption",
    "InvalidSettings",
    "InvalidSource",
    "InvalidTransition",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobFields",
    "JobForgotten",
    "JobNotFound",
    "Jobs",
    "Keep",
    "Key",
    "KeyConflict",
    "KeyedStock",
    "Kind",
    "LogLine",
    "Misfire",
    "Node",
    "NotUnique",
    "OutcomeUnknown",
    "Outputs",
    "Page",
    "Posthorse",
    "PosthorseError",
    "PreviousStep",
    "Progress",
    "Queue",
    "QueueClosed",
    "QueueFull",
    "QueueSettings",
    "Range",
    "Rate",
    "Reason",
    "ResultExpired",
    "Retry",
    "RunningAttempt",
    "Schedule",
    "ScheduleNotFound",
    "ScheduleState",
    "ScheduleStatus",
    "SchemaMismatch",
    "Searched",
    "Sequence",
    "Skip",
    "Snooze",
    "State",
    "Status",
    "Stock",
    "StockEmpty",
    "StockNotFound",
    "StockStatus",
    "StoreError",
    "StoreUnreachable",
    "Submission",
    "Throttle",
    "ToleranceExceeded",
    "TooLarge",
    "TookTooLong",
    "Unique",
    "UnknownCommand",
    "UnknownKind",
    "UsageError",
    "Why",
    "WorkerMetrics",
    "__version__",
    "csv",
    "depends",
    "ended",
    "events",
    "files",
    "keyset",
    "lines",
    "previous",
    "rows",
]

_HOMES = {
    "Bundle": "posthorse.app.bundle",
    "Posthorse": "posthorse.app.client",
    "CommandBus": "posthorse.app.command_bus",
    "Command": "posthorse.app.commands",
    "Count": "posthorse.app.page",
    "Page": "posthorse.app.page",
    "Searched": "posthorse.app.page",
    "Flow": "posthorse.app.flow",
    "Job": "posthorse.app.job",
    "Jobs": "posthorse.app.jobs",
    "Call": "posthorse.app.call",
    "Kind": "posthorse.app.kind",
    "Node": "posthorse.app.node",
    "Queue": "posthorse.app.queues",
    "Schedule": "posthorse.app.schedules",
    "Stock": "posthorse.app.stock",
    "KeyedStock": "posthorse.app.stock_keys",
    "CodecError": "posthorse.errors",
    "DuplicateKind": "posthorse.errors",
    "EventTimeout": "posthorse.errors",
    "Interrupted": "posthorse.errors",
    "InvalidArgument": "posthorse.errors",
    "InvalidCall": "posthorse.errors",
    "InvalidOption": "posthorse.errors",
    "InvalidSource": "posthorse.errors",
    "InvalidSettings": "posthorse.errors",
    "JobCancelled": "posthorse.errors",
    "JobFailed": "posthorse.errors",
    "JobForgotten": "posthorse.errors",
    "JobNotFound": "posthorse.errors",
    "KeyConflict": "posthorse.errors",
    "InvalidTransition": "posthorse.errors",
    "NotUnique": "posthorse.errors",
    "OutcomeUnknown": "posthorse.errors",
    "PosthorseError": "posthorse.errors",
    "QueueClosed": "posthorse.errors",
    "QueueFull": "posthorse.errors",
    "ResultExpired": "posthorse.errors",
    "ScheduleNotFound": "posthorse.errors",
    "SchemaMismatch": "posthorse.errors",
    "StockEmpty": "posthorse.errors",
    "StockNotFound": "posthorse.errors",
    "StoreError": "posthorse.errors",
    "StoreUnreachable": "posthorse.errors",
    "ToleranceExceeded": "posthorse.errors",
    "TooLarge": "posthorse.errors",
    "TookTooLong": "posthorse.errors",
    "UnknownCommand": "posthorse.errors",
    "UnknownKind": "posthorse.errors",
    "UsageError": "posthorse.errors",
    "ended": "posthorse.rules.arguments.outputs",
    "previous": "posthorse.rules.arguments.outputs",
    "depends": "posthorse.rules.depends",
    "events": "posthorse.rules",
    "Event": "posthorse.rules.events",
    "Graph": "posthorse.rules.flow_graph",
    "GraphEdge": "posthorse.rules.flow_graph",
    "GraphNode": "posthorse.rules.flow_graph",
    "Attempt": "posthorse.rules.job",
    "BadItem": "posthorse.rules.job",
    "JobError": "posthorse.rules.job",
    "State": "posthorse.rules.job",
    "Status": "posthorse.rules.job",
    "LogLine": "posthorse.rules.job_logs",
    "Key": "posthorse.rules.keys",
    "Concurrency": "posthorse.rules.limits",
    "Rate": "posthorse.rules.limits",
    "Sequence": "posthorse.rules.limits",
    "RunningAttempt": "posthorse.rules.middleware",
    "Submission": "posthorse.rules.middleware",
    "About": "posthorse.rules.packing",
    "Codec": "posthorse.rules.packing",
    "Progress": "posthorse.rules.progress",
    "QueueSettings": "posthorse.rules.queues",
    "Range": "posthorse.rules.ranges",
    "Keep": "posthorse.rules.retention",
    "Backoff": "posthorse.rules.retry",
    "Misfire": "posthorse.rules.schedules",
    "ScheduleState": "posthorse.rules.schedules",
    "ScheduleStatus": "posthorse.rules.schedules",
    "ChildFailed": "posthorse.rules.steering",
    "GiveUp": "posthorse.rules.steering",
    "Retry": "posthorse.rules.steering",
    "Skip": "posthorse.rules.steering",
    "StockStatus": "posthorse.rules.stock",
    "Throttle": "posthorse.rules.throttle",
    "Snooze": "posthorse.rules.steering",
    "Unique": "posthorse.rules.unique",
    "Estimate": "posthorse.rules.why.answer",
    "Reason": "posthorse.rules.why.answer",
    "Why": "posthorse.rules.why.answer",
    "AsyncConnection": "posthorse.store.connections",
    "Connection": "posthorse.store.connections",
    "JobFields": "posthorse.worker.base.job_fields",
    "Context": "posthorse.worker.checkpoints.context",
    "FlowStep": "posthorse.worker.checkpoints.flow_step",
    "Outputs": "posthorse.worker.checkpoints.outputs",
    "PreviousStep": "posthorse.worker.checkpoints.flow_step",
    "Batch": "posthorse.worker.checkpoints.batch",
    "Chunk": "posthorse.worker.checkpoints.sources",
    "csv": "posthorse.worker.checkpoints.sources",
    "files": "posthorse.worker.checkpoints.sources",
    "keyset": "posthorse.worker.checkpoints.sources",
    "lines": "posthorse.worker.checkpoints.sources",
    "rows": "posthorse.worker.checkpoints.sources",
    "WorkerMetrics": "posthorse.worker.metrics",
}
"""The module of each public name, equal to the imports above for type checkers; the tests compare the two."""

if not typing.TYPE_CHECKING:  # a type checker that saw it would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use, and cache it."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(home), name, None)
        if found is None:  # a module of that package
            found = importlib.import_module(f"{home}.{name}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
