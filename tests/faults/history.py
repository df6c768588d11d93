"""The history of a run under faults: what clients, jobs and the nemesis record about themselves, one JSON line per
event.

Each writer opens the file for appending and writes a whole line at once, in whatever process it is; a SIGKILL leaves no
half line. Times are in microseconds of the machine's wall clock, which is the store's clock on one machine. It does not
know what is right.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

HISTORY = "FAULTS_HISTORY"
"""The environment variable that names the file."""

Phase = Literal["invoke", "ok", "fail", "info"]
"""An operation is invoked, and was done (ok), was not done (fail), or may have been done or not (info)."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event says beyond who and when; most of it is omitted."""

    labels: Sequence[str] = ()
    """What a submit is about: each of its jobs has its label in its arguments."""
    jobs: Sequence[str] = ()
    """The ids that a submit returned, in the order of its labels."""
    kind: str | None = None
    key: str | None = None
    unique: str | None = None
    delay: int | None = None
    run_at: int | None = None
    max_attempts: int | None = None
    item: int | None = None
    size: int | None = None
    state: str | None = None
    done: int | None = None
    result: str | None = None
    force: bool = False
    error: str | None = None
    pids: Sequence[int] = ()
    code: int | None = None
    seconds: float | None = None
    grace: float | None = None
    limit: str | None = None
    """The name of a limit that a run counts against: a cap, a rate or a sequence."""
    cap: int | None = None
    rate: float | None = None
    burst: int | None = None
    figures: dict[str, float] = {}
    """What a survey measured, by name."""
    limits: dict[str, float] = {}
    scheduled_at: int | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened. `token` distinguishes runs of a job's code, whatever they believe their epoch is."""

    t: int
    process: str
    op: str
    phase: Phase = "ok"
    job: str | None = None
    tenant: str | None = None
    epoch: int | None = None
    attempt: int | None = None
    token: str | None = None
    value: Value = Value()


class Recorder:
    """The events of one process, appended to a history. Threads may share it."""

    def __init__(self, path: str | Path, process: str) -> None:
        self.process = process
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(
        self,
        op: str,
        phase: Phase = "ok",
        *,
        job: str | None = None,
        tenant: str | None = None,
        epoch: int | None = None,
        attempt: int | None = None,
        token: str | None = None,
        value: Value = Value(),  # noqa: B008  # frozen
    ) -> Event:
        """Record what happens now."""
        event = Event(now(), self.process, op, phase, job, tenant, epoch, attempt, token, value)
        os.write(self._file, _encode(event) + b"\n")
        return event

    def close(self) -> None:
        """End the recording of this process."""
        os.close(self._file)


def now() -> int:
    """Return microseconds on the wall clock."""
    return time.time_ns() // 1000


def new_token() -> str:
    """Return a name for one run of a job's code."""
    return uuid.uuid4().hex[:12]


def read_history(path: str | Path) -> list[Event]:
    """Return all events in the order of their times, without a line that is being written at this moment."""
    lines = Path(path).read_bytes().rpartition(b"\n")[0].splitlines()
    return in_order(_decode(line) for line in lines)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Sort events by time; those of the same moment stay in their order."""
    return sorted(events, key=lambda event: event.t)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode
