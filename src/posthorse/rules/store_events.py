"""Events of the stream that concern no single job: what was done to a queue or a schedule, and what befell a worker.

Readers (`app.events()`) get them among the events of jobs, and so do durable observers (`app.on(…)`). As JSON they
have their name in the field `name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from posthorse.clock import moment

StoreEventName = Literal["queue_changed", "schedule_paused", "schedule_resumed", "worker_lost"]


class StoreEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="name"):
    """What happened to a queue, a schedule or a worker.

    at: when it was committed, on the store's clock, aware and in UTC.
    cursor: read on from here: `app.events(after=event.cursor)`. Empty if a condition was observed, and not the stream.
    """

    at: datetime
    cursor: str = ""

    @property
    def name(self) -> str:
        """What happened, in a word."""
        return str(self.__struct_config__.tag)


class QueueChanged(StoreEvent, frozen=True, kw_only=True, tag="queue_changed"):
    """A queue was paused, resumed, drained, set or reset.

    queue: its name. settings: the live settings that changed, in the words of a file; None where one was taken back.
    """

    queue: str
    settings: Mapping[str, object]


class SchedulePaused(StoreEvent, frozen=True, kw_only=True, tag="schedule_paused"):
    """A schedule was paused. schedule: its name."""

    schedule: str


class ScheduleResumed(StoreEvent, frozen=True, kw_only=True, tag="schedule_resumed"):
    """A schedule was resumed. schedule: its name."""

    schedule: str


class WorkerLost(StoreEvent, frozen=True, kw_only=True, tag="worker_lost"):
    """A worker, or one of its runners, fell silent: its lease ended, and it never said goodbye. Its jobs go to others.

    worker, host: its name, and its machine. runners: the ids of the runners that were lost with it.
    jobs: how many jobs they held.
    last_seen: when the last of them was heard. at: when the loss was found.
    """

    worker: str
    host: str
    runners: Sequence[str]
    jobs: int
    last_seen: datetime


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down of a worker that was lost."""

    worker: str
    host: str
    runners: Sequence[str]
    jobs: int
    last_seen: int

    def event(self, at: int, cursor: str = "") -> WorkerLost:
        """Make the event."""
        return WorkerLost(
            worker=self.worker,
            host=self.host,
            runners=self.runners,
            jobs=self.jobs,
            last_seen=moment(self.last_seen),
            at=moment(at),
            cursor=cursor,
        )


class QueueChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down of a change of a queue."""

    queue: str
    settings: Mapping[str, object]

    def event(self, at: int, cursor: str = "") -> QueueChanged:
        """Make the event."""
        return QueueChanged(queue=self.queue, settings=self.settings, at=moment(at), cursor=cursor)


class SteeredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down of a schedule that was paused or resumed."""

    schedule: str


STORE_CLASSES: Mapping[str, type[StoreEvent]] = {
    str(each.__struct_config__.tag): each for each in (QueueChanged, SchedulePaused, ScheduleResumed, WorkerLost)
}
"""The class of each event of the stream that concerns no single job, by its name."""

_decode_loss = msgspec.json.Decoder(Loss).decode
_decode_change = msgspec.json.Decoder(QueueChange).decode
_decode_steered = msgspec.json.Decoder(SteeredSchedule).decode


def store_event(name: str, at: int, detail: str, cursor: str) -> StoreEvent:
    """Make an event of the stream from what was written down, as JSON."""
    match name:
        case "queue_changed":
            return _decode_change(detail).event(at, cursor)
        case "worker_lost":
            return _decode_loss(detail).event(at, cursor)
        case "schedule_paused":
            return SchedulePaused(schedule=_decode_steered(detail).schedule, at=moment(at), cursor=cursor)
        case _:
            return ScheduleResumed(schedule=_decode_steered(detail).schedule, at=moment(at), cursor=cursor)


def queue_of(name: str, detail: str) -> str | None:
    """Return the queue that an event concerns, if it does."""
    return _decode_change(detail).queue if name == "queue_changed" else None
