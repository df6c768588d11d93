"""Declaring observers of conditions, such as a queue that is late: checks the options of `app.on(…)`.

The looks are in `maintenance/chores/conditions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from posthorse.app.observers import ObserverDecorator, refuse_rest
from posthorse.errors import InvalidOption
from posthorse.rules.condition_events import JobBehind, QueueLate
from posthorse.rules.conditions import (
    ConditionObserver,
    ConditionRule,
    IncidentRule,
    JobBehindRule,
    QueueLateRule,
    checked_limit,
)
from posthorse.rules.durations import Duration
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.job_events import make_event_filter
from posthorse.rules.store_events import WorkerLost

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

DEFAULT_AFTER = "5m"

Names = str | Iterable[str] | None


def observing_condition(
    app: Posthorse,
    event: type[Any],
    *,
    kind: Names,
    queue: Names,
    after: Duration | None,
    within: Duration | None,
    resolved: bool | None,
    name: str | None,
    rest: Mapping[str, object],
    options: Mapping[str, object],
) -> ObserverDecorator[Any]:
    """Return what observes a condition. rest: what no condition takes. Raises InvalidOption."""
    rule: ConditionRule
    if event is QueueLate:
        refuse_rest(event, {"kind": kind, "within": within, **rest}, takes="queue, after and resolved")
        limit = checked_limit(DEFAULT_AFTER if after is None else after, name="after")
        rule = QueueLateRule("", limit, make_event_filter(None, None, queue).queues)
    elif event is JobBehind:
        refuse_rest(event, {"after": after, **rest}, takes="within, kind, queue and resolved")
        if within is None:
            raise InvalidOption(
                "ph.events.JobBehind needs within: how long a job may take from when it is enqueued, such as "
                'within="2h"'
            )
        wanted = make_event_filter(None, kind, queue)
        rule = JobBehindRule("", checked_limit(within, name="within"), wanted.kinds, wanted.queues)
    else:
        given = {"kind": kind, "queue": queue, "after": after, "within": within, "resolved": resolved, **rest}
        refuse_rest(event, given, takes="no options of its own")
        rule = IncidentRule("", "worker_lost" if event is WorkerLost else "schedule_missed")

    def enter(kind: str, lane: Lane, make: Callable[[Any], NewJob]) -> None:
        named = msgspec.structs.replace(rule, name=kind)
        app.registry.conditions[kind] = ConditionObserver(named, lane, make, wants_end=bool(resolved))

    return ObserverDecorator(app, event, name=name, options=options, enter=enter)
