"""The reasons that `why` gives for a job in a simulated world, compared with what the store shows at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import posthorse as ph
from posthorse.app.verbs import drive
from posthorse.app.why import why_of
from posthorse.rules.why.answer import Code
from tests.faults.simulation.snapshot import Snapshot, Standing

AROUND = {
    Code.QUEUE_PAUSED,
    Code.WINDOW,
    Code.NO_WORKER,
    Code.NO_KIND,
    Code.NO_QUEUE,
    Code.NO_LABELS,
    Code.DRAINING,
}
GATES = {Code.DEAD_LETTER, Code.SEQUENCE, Code.CONCURRENCY, Code.RATE}
LEADING = {
    "scheduled": {Code.SCHEDULED, Code.RETRY, Code.SNOOZED, Code.INTERRUPTED, Code.LINING_UP, *AROUND},
    "blocked": {Code.UNFIT, Code.LINING_UP, *GATES, *AROUND},
    "pending": {Code.QUARANTINE, Code.FULL, Code.AHEAD, Code.NEXT, *GATES, *AROUND},
    "processing": {Code.RUNNING, Code.SILENT_WORKER, Code.LOST_WORKER},
    "paused": {Code.PAUSED},
    "completed": {Code.COMPLETED},
    "failed": {Code.FAILED},
    "cancelled": {Code.CANCELLED},
}
"""The leading reasons that are possible in each state."""


def reasons(app: ph.Posthorse, one: Standing, after: Snapshot) -> Iterator[str]:
    """Yield an error unless there is one leading reason that fits the job, and each job that is named holds it up."""
    told = drive(why_of(app, one.job.id))
    codes = [Code(reason.code) for reason in told.reasons]
    who = f"why of job {one.job.id[-4:]}, which is {one.shown},"
    if told.state != one.shown or codes[0] not in LEADING[one.shown]:
        yield f"{who} says that it is {told.state} and {codes[0]}"
    if len(codes) != len(set(codes)):
        yield f"{who} says {codes}"
    is_held = one.parked is not None and one.parked.gate is not None
    if one.shown == "blocked" and is_held == (Code.UNFIT in codes):
        yield f"{who} confuses a gate with arguments that do not fit"
    for reason in told.reasons:
        holders = cast("list[dict[str, str]]", reason.facts.get("holders", []))
        for holder in holders:
            other = after.jobs[holder["id"]]
            may_hold = other.shown == "failed" if reason.code == Code.DEAD_LETTER else not other.job.is_over
            if holder["id"] == one.job.id or (not may_hold and holder is holders[0]):
                yield f"{who} names job {other.job.id[-4:]}, which is {other.shown}, for {reason.code}"
        if reason.start is not None and reason.start.latest is not None:
            assert reason.start.earliest is not None
            if not told.at <= reason.start.earliest <= reason.start.latest:
                yield f"{who} starts from {reason.start.earliest} to {reason.start.latest}"
