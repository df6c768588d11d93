"""Conditions, as the functions that observe them receive them: what is wrong with the store's work for a while.

A condition is found by looking at the state of the store, so it needs no watch, and nothing is written for it until it
begins. Times are aware, in UTC, on the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from posthorse.rules.store_events import WorkerLost


class DeadLettersGrew(msgspec.Struct, frozen=True, kw_only=True):
    """Unusually many jobs of a queue became dead letters. Times are aware, in UTC, on the store's clock.

    queue, count: the queue and how many of its jobs failed for good; `is_at_least` is true if there were too many to
    count.
    since, until: when the first and the last of them ended.
    kinds: how many of each kind. errors: how many of each error class, for the five most frequent.
    jobs: the ids of the first five.
    """

    queue: str
    count: int
    since: datetime
    until: datetime
    kinds: Mapping[str, int]
    errors: Mapping[str, int]
    jobs: Sequence[str]
    is_at_least: bool = False


class QueueLate(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest job that waits in a queue has waited for longer than its limit; or, with `is_over`, no more.

    queue, limit: the queue, and how long its jobs may wait.
    waited: how long its oldest job had waited when this was found; zero if none waits. job: that job, if there is one.
    since: when the limit was exceeded. at: when this was found.
    """

    queue: str
    limit: timedelta
    waited: timedelta
    job: str | None
    since: datetime
    at: datetime
    is_over: bool = False


class ScheduleMissed(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a schedule passed without a job, for longer than the grace of its `misfire`.

    schedule: its name. since: the first time that was missed.
    until: the last one, once a worker has dealt with them; None while no worker attends to the schedule.
    jobs: how many jobs make up for them, as `misfire` says; None while that is open.
    at: when this was found.
    """

    schedule: str
    since: datetime
    until: datetime | None
    jobs: int | None
    at: datetime


class JobBehind(msgspec.Struct, frozen=True, kw_only=True):
    """A running job will not be over in time, by its forecast; or, with `is_over`, it is over, or in time again.

    job, kind, queue, tenant: which job.
    within, due: how long it may take from when it was enqueued, and when that time is over.
    eta: when it will be over, by the forecast; None if nothing tells, or it no longer runs.
    since: when it was found to be behind. at: when this was found.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    within: timedelta
    due: datetime
    eta: datetime | None
    since: datetime
    at: datetime
    is_over: bool = False


Condition = QueueLate | WorkerLost | ScheduleMissed | JobBehind
"""What observers of conditions receive; `DeadLettersGrew` has a rule of its own."""
