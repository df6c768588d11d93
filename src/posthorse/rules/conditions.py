"""Conditions that users want to hear of, such as a queue that is late: their rules, and what a look reads for them.

Times are integers, microseconds on the store's clock. When a condition begins and ends, `condition_changes` decides;
`maintenance/chores/conditions` queries the store and writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from posthorse.clock import microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.growth import OBSERVERS_QUEUE
from posthorse.rules.incidents import Sort
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.schedules import Policies
from posthorse.rules.timing import Timing
from posthorse.rules.values.type_mismatch import short

MIN_LIMIT, MAX_LIMIT = "1s", "365d"


class QueueLateRule(msgspec.Struct, frozen=True):
    """A queue is late if its oldest job waits for longer than `after`. queues: only these; None: any."""

    name: str
    after: int
    queues: frozenset[str] | None = None

    def counts(self, queue: str) -> bool:
        """Return whether it looks at a queue. Observers hear of their own queue only if they name it."""
        return queue != OBSERVERS_QUEUE if self.queues is None else queue in self.queues


class JobBehindRule(msgspec.Struct, frozen=True):
    """A job is behind if it will not be over `within` a time from when it was enqueued. kinds, queues: None for any."""

    name: str
    within: int
    kinds: frozenset[str] | None = None
    queues: frozenset[str] | None = None

    def counts(self, kind: str, queue: str) -> bool:
        """Return whether it looks at such jobs."""
        if self.kinds is not None and kind not in self.kinds:
            return False
        return queue != OBSERVERS_QUEUE if self.queues is None else queue in self.queues


class IncidentRule(msgspec.Struct, frozen=True):
    """Every incident of this sort is reported once."""

    name: str
    incident: Sort


ConditionRule: TypeAlias = QueueLateRule | JobBehindRule | IncidentRule


class ConditionObserver(NamedTuple):
    """A rule whose observer is a job: the lane of that job, and how to make one from what is reported."""

    rule: ConditionRule
    lane: Lane
    make: Callable[[Any], NewJob]
    wants_end: bool
    """Whether it hears when a condition is over."""


class LaneWait(NamedTuple):
    """Since when the first job of a lane waits."""

    queue: str
    job: str
    since: int
    now: int


class LongJob(NamedTuple):
    """A job that runs or was reported, and how far it is; from `done` to `updated_at` None without a checkpoint.

    state: "processing" while it runs.
    """

    id: str
    state: str
    kind: str
    queue: str
    tenant: str | None
    created_at: int
    done: int | None
    total: int | None
    pace: str | None
    updated_at: int | None
    now: int


class ScheduleSeen(NamedTuple):
    """How far a schedule is that is not paused."""

    name: str
    timing: Timing
    policies: Policies
    handled_until: int


def checked_limit(limit: Duration, *, name: str) -> int:
    """Check how long something may take; return it in microseconds. Raises InvalidOption."""
    span = as_timedelta(limit, name=name)
    if not as_timedelta(MIN_LIMIT, name=name) <= span <= as_timedelta(MAX_LIMIT, name=name):
        raise InvalidOption(f"{name} is {short(limit)}; it must lie between {MIN_LIMIT} and {MAX_LIMIT}")
    return microseconds(span)
