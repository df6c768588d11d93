"""Lists as programs read them over HTTP: each is an object, so that it can get more fields."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.views.attempt import AttemptView
from posthorse.views.bad_item import BadItemView
from posthorse.views.base import View
from posthorse.views.figures import ErrorGroup
from posthorse.views.job import EventView
from posthorse.views.job_logs import LogLineView
from posthorse.views.queue import QueueView
from posthorse.views.schedule import ScheduleView
from posthorse.views.worker import WorkerView


class CountView(View, frozen=True, kw_only=True):
    """How many jobs match: exactly so many, or at least; `text` says it in words."""

    count: int
    is_exact: bool
    text: str


class ArgumentsView(View, frozen=True, kw_only=True):
    """The arguments of a job by name."""

    arguments: msgspec.Raw


class AttemptsView(View, frozen=True, kw_only=True):
    """The attempts of a job, in order."""

    attempts: Sequence[AttemptView]


class EventsView(View, frozen=True, kw_only=True):
    """The events of a job, in order."""

    events: Sequence[EventView]


class LogsView(View, frozen=True, kw_only=True):
    """Lines that a job logged; `next` is null if there may be no more."""

    lines: Sequence[LogLineView]
    next: str | None


class BadItemsView(View, frozen=True, kw_only=True):
    """The first bad items of a job."""

    bad_items: Sequence[BadItemView]


class QueuesView(View, frozen=True, kw_only=True):
    """All queues, by name."""

    queues: Sequence[QueueView]


class SchedulesView(View, frozen=True, kw_only=True):
    """All schedules, by name."""

    schedules: Sequence[ScheduleView]


class WorkersView(View, frozen=True, kw_only=True):
    """The runners of all workers."""

    workers: Sequence[WorkerView]


class ErrorsView(View, frozen=True, kw_only=True):
    """Groups of errors that are alike, the most frequent first."""

    errors: Sequence[ErrorGroup]
