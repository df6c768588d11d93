"""Incidents: what goes wrong and leaves no other trace in the state of the store, so it is noted as it happens. Pure.

Each has a subject, which is never used again, so that every observer is notified of it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from posthorse.clock import moment
from posthorse.rules.condition_events import ScheduleMissed
from posthorse.rules.store_events import Loss, WorkerLost

Sort = Literal["worker_lost", "schedule_missed"]


class Incident(NamedTuple):
    """An incident as stored; `detail` is JSON."""

    name: str
    subject: str
    at: int
    detail: str


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted of times of a schedule that were missed."""

    schedule: str
    since: int
    until: int
    jobs: int


_decode_loss = msgspec.json.Decoder(Loss).decode
_decode_miss = msgspec.json.Decoder(Miss).decode


def event_of(incident: Incident) -> WorkerLost | ScheduleMissed:
    """Make the event of an incident."""
    if incident.name == "worker_lost":
        return _decode_loss(incident.detail).event(incident.at)
    miss = _decode_miss(incident.detail)
    return ScheduleMissed(
        schedule=miss.schedule,
        since=moment(miss.since),
        until=moment(miss.until),
        jobs=miss.jobs,
        at=moment(incident.at),
    )


def subject_of_loss(runners: Sequence[str]) -> str:
    """Name the loss of runners; the id of a runner is never used again."""
    return min(runners)


def subject_of_miss(schedule: str, first_missed: int) -> str:
    """Name the times of a schedule that were missed, from the first one on."""
    return f"{first_missed} {schedule}"
