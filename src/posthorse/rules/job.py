"""What a job is: its states, the options it was enqueued with, and the status that a user reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.in_flow import InFlow
from posthorse.rules.parts import Part
from posthorse.rules.progress import Progress
from posthorse.rules.retry import BackoffNumbers
from posthorse.rules.trace import TraceContext
from posthorse.rules.unique import Identity, Remembered
from posthorse.rules.values.texts import one_line, storable
from posthorse.rules.values.type_mismatch import short

DEFAULT_QUEUE = "default"
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
MAX_TYPE, MAX_MESSAGE, MAX_TRACEBACK = 200, 4_000, 16_000
"""Maximum lengths, in characters, of the stored parts of an error."""


class State(StrEnum):
    """The state of a job. `processing` is not stored: it is a pending job on which a runner holds a lease."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PENDING = "pending"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job will not run again unless a user retries it."""
        return self in _FINAL


_FINAL = (State.COMPLETED, State.FAILED, State.CANCELLED)
"""A constant, because looking up members is slow."""


class Lane(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What the jobs in one line of the ready queue have in common."""

    queue: str
    kind: str
    priority: int = 0
    solo: bool = False
    """It holds suspects, which run alone."""
    tenant: str = ""
    """The tenant that the lane belongs to, if tenants share the queue."""
    keyed: bool = False
    """Whether its jobs have a position in a sequence that depends on each job's value."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options that one job was given beyond those of its kind; stored with the job only if set."""

    max_attempts: int | None = None
    backoff: BackoffNumbers | None = None
    timeout: float | None = None  # seconds
    expires: float | None = None  # seconds
    unique: Remembered | None = None
    schedule: str | None = None
    scheduled_at: int | None = None  # microseconds since the epoch
    sequence: str | None = None
    passes_dead: bool = False  # whether later jobs of its sequence go on if it becomes a dead letter
    tenant: str | None = None  # what a claim does not return, for the job's code, codecs and figures; as the next two
    tags: tuple[str, ...] | None = None  # if they are not those of the kind
    key: str | None = None
    metadata: dict[str, Any] | None = None
    trace: TraceContext | None = None  # set only if a span recorded where the job was enqueued
    flow: InFlow | None = None  # set if it is a flow or a step of one
    shards: int | None = None  # into how many parts its loop is cut
    part: Part | None = None  # what it is a part of; positions are packed as cursors are
    submitter: str | None = None  # who submitted it over HTTP, if that is all they may read

    @property
    def is_part(self) -> bool:
        """Whether the job is a part of another one, whose place in a sequence and whose expiry hold for it."""
        return self.part is not None

    def encode(self) -> str | None:
        """Return JSON, or None if no option is set."""
        return None if self == _NO_OPTIONS else _encode(self).decode()

    def traced(self, context: TraceContext) -> str | None:
        """Return the stored form of the same options with a trace context."""
        return msgspec.structs.replace(self, trace=context).encode()

    @classmethod
    def decode(cls, text: str | None) -> Options:
        """Decode options; ignore fields of a newer version."""
        return _NO_OPTIONS if text is None else _decode_options(text)


_NO_OPTIONS = Options()
_encode = msgspec.json.Encoder().encode
_decode_options = msgspec.json.Decoder(Options).decode


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """A job that is about to be stored. Times are microseconds; `delay` counts from the store's now."""

    id: str
    lane: Lane
    arguments: str
    run_at: int | None = None
    delay: int | None = None
    options: str | None = None
    tenant: str | None = None
    tags: str | None = None
    parent: str | None = None
    key: str | None = None
    fingerprint: str | None = None
    key_scope: str | None = None
    """The scope in which the key is unique, if that is not the kind."""
    key_span: int | None = None
    sequence: str | None = None
    """The gate of the sequence that the job belongs to."""
    unique: Identity | None = None
    """What makes the job the same as another one of its kind; None if two of the same may run."""

    @property
    def is_plain(self) -> bool:
        """Whether it can start at once, regardless of other jobs."""
        return (
            self.key is None
            and self.unique is None
            and self.sequence is None
            and self.run_at is None
            and not self.delay
            and self.parent is None
        )


class JobError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The evidence of one failed attempt; its texts are storable in any database."""

    type: str
    message: str
    traceback: str | None = None

    def __post_init__(self) -> None:
        # Most texts stay as they are.
        if (name := one_line(self.type, MAX_TYPE)) is not self.type:
            msgspec.structs.force_setattr(self, "type", name)
        if (message := storable(self.message, MAX_MESSAGE)) is not self.message:
            msgspec.structs.force_setattr(self, "message", message)
        if self.traceback is not None and (trace := storable(self.traceback, MAX_TRACEBACK)) is not self.traceback:
            msgspec.structs.force_setattr(self, "traceback", trace)

    def encode(self) -> str:
        """Return the stored JSON form."""
        return _encode(self).decode()

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class BadItem:
    """An item that a long job tolerated. If it is not retryable, it could not be stored, and `item` is its `repr`.

    number: counts the bad items of a loop, from 1.
    item: the value, or the key if the source finds items by their keys.
    shard: the number of the part that met it, in a job that was cut into parts; else None.
    """

    loop: str
    number: int
    item: object
    is_retryable: bool
    error: JobError
    at: datetime
    shard: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job's code. Times are aware, in UTC; None means that no process could record it.

    number: as `ctx.attempt` was; interruptions and snoozes spend none, so several may have the same.
    outcome: completed, failed, lost, crashed, snoozed, waiting, split, released, paused, cancelled or running.
    """

    number: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: JobError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A job as it was at one moment. Times are aware, in UTC, on the store's clock."""

    id: str
    state: State
    reason: str | None
    kind: str
    queue: str
    priority: int
    tenant: str | None
    tags: Sequence[str]
    attempt: int
    max_attempts: int | None
    crashes: int
    interruptions: int
    progress: Progress
    requested: str | None
    error: JobError | None
    worker: str | None
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    schedule: str | None = None
    scheduled_at: datetime | None = None
    """The time of the schedule that this job is for."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    waits_for: str | None = None
    """Why a pending job does not start, if the cause is its queue or the workers."""


def checked_name(value: object, *, what: str) -> str:
    """Check a name of a queue, kind, tenant or tag: 1 to 200 printable characters, no surrounding spaces, no `*`.

    Raises InvalidOption.
    """
    if (
        isinstance(value, str)
        and 0 < len(value) <= 200
        and value.isprintable()
        and value == value.strip()
        and "*" not in value
    ):
        return value
    raise InvalidOption(
        f"{what} is {short(value)}; it must be 1 to 200 printable characters without `*` or surrounding spaces"
    )


def checked_priority(value: object) -> int:
    """Check a priority: a whole number from -100 to 100. Raises InvalidOption."""
    if isinstance(value, int) and not isinstance(value, bool) and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        return value
    raise InvalidOption(f"priority is {short(value)}; it must be a whole number from -100 to 100, higher first")
