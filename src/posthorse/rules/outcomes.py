"""Outcomes: all the ways in which running a job ends. `rules/lifecycle` says what follows from each."""

from __future__ import annotations

import msgspec

from posthorse.clock import moment
from posthorse.rules.job import JobError
from posthorse.rules.joins import Phase
from posthorse.rules.ranges import Range
from posthorse.rules.topics import Topic
from posthorse.rules.values.texts import one_line

MAX_REASON = 500
"""Maximum length of a stored reason, in characters."""


class Returned(msgspec.Struct, frozen=True, tag=True):
    """The job's code returned; `result` is JSON."""

    result: str


class Raised(msgspec.Struct, frozen=True, tag=True):
    """The job's code raised.

    wait: microseconds until the next attempt, if the error or the backoff function set them.
    gives_up: why there will be no further attempt.
    """

    error: JobError
    wait: int | None = None
    gives_up: str | None = None

    def __post_init__(self) -> None:
        if self.gives_up is not None:
            _make_reason(self, "gives_up", self.gives_up)


class Snoozed(msgspec.Struct, frozen=True, tag=True):
    """The job's code asked to run again after so many microseconds.

    until: the exact moment, in microseconds on the store's clock, if the code asked for one.
    """

    wait: int
    reason: str
    until: int | None = None

    def __post_init__(self) -> None:
        _make_reason(self, "reason", self.reason)


class Waits(msgspec.Struct, frozen=True, tag=True):
    """The job's code waits for an event of this name: until then it holds no worker.

    until: when it goes on without, in microseconds on the store's clock; None if it waits for ever.
    """

    event: str
    topic: Topic
    until: int | None = None

    @property
    def reason(self) -> str:
        """What it waits for, in words."""
        until = "" if self.until is None else f" until {moment(self.until):%Y-%m-%d %H:%M:%S} UTC"
        return one_line(f"waits for the event {self.event}{until}", MAX_REASON)


class Joined(msgspec.Struct, frozen=True, tag=True):
    """The job has children, and its code is done until they are over: it holds no worker meanwhile.

    result: JSON, if its code returned; None if it runs again after its children. passed: how many joins its code went
    past before it returned.
    """

    result: str | None = None
    passed: int = 0

    @property
    def phase(self) -> Phase:
        """What follows when its children are over."""
        return "run" if self.result is None else "end"


class Expired(msgspec.Struct, frozen=True, tag=True):
    """The job was not started in time; its code did not run."""


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """The job's code found nothing to do."""

    reason: str

    def __post_init__(self) -> None:
        _make_reason(self, "reason", self.reason)


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The job stopped at a checkpoint or before it began, because of a request: "pause", "cancel", "shutdown" (a
    deploy: it goes on elsewhere), "window" (its queue closed), "yield" (its time box is over, or others have its place)
    or "room" (as many parts of its job run as may).

    reason: what to tell users instead of the usual words.
    """

    request: str
    reason: str | None = None


class Split(msgspec.Struct, frozen=True, tag=True):
    """The job's loop was cut into ranges, which its parts run over; the job waits for them, and runs again then."""

    loop: str
    ranges: tuple[Range, ...]


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The job's worker vanished: no process renews its lease any more. Whether the job was the cause is not known."""

    detail: str

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The job's process died while its supervisor lived.

    alone: no other job ran in it. is_contained: the job is isolated, so it cannot harm others and needs no quarantine.
    """

    detail: str
    alone: bool
    is_contained: bool = False

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The stored arguments do not fit this version of the code; another version may still take the job.

    times: how often this happened in a row, including now.
    """

    detail: str
    times: int = 1

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


def _make_reason(outcome: msgspec.Struct, field: str, text: str) -> None:
    """Make the reason of an outcome a line that any database can store."""
    msgspec.structs.force_setattr(outcome, field, one_line(text, MAX_REASON))


Outcome = Returned | Raised | Snoozed | Waits | Joined | Split | Skipped | Stopped | Expired | Lost | Crashed | Unfit
