"""The answer to why a job does not run: reasons with stable codes, and when the job will start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from posthorse.rules.job import State


class Code(StrEnum):
    """The kinds of reasons. Programs may rely on them: codes are added, never renamed."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RUNNING = "running"
    STOPPING = "stopping"
    SILENT_WORKER = "silent_worker"
    LOST_WORKER = "lost_worker"
    PAUSED = "paused"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    SNOOZED = "snoozed"
    THROTTLED = "throttled"
    EVENT = "event"
    INTERRUPTED = "interrupted"
    UNFIT = "unfit"
    NEEDS = "needs"
    CHILDREN = "children"
    BLOCKED = "blocked"
    QUEUE_PAUSED = "queue_paused"
    WINDOW = "window"
    NO_WORKER = "no_worker"
    NO_KIND = "no_kind"
    NO_QUEUE = "no_queue"
    NO_LABELS = "no_labels"
    DRAINING = "draining"
    DEAD_LETTER = "dead_letter"
    SEQUENCE = "sequence"
    CONCURRENCY = "concurrency"
    RATE = "rate"
    LINING_UP = "lining_up"
    QUARANTINE = "quarantine"
    FULL = "full"
    AHEAD = "ahead"
    NEXT = "next"


UNSERVED = frozenset({Code.NO_WORKER, Code.NO_KIND, Code.NO_QUEUE, Code.NO_LABELS, Code.DRAINING})
"""No living worker would take the job, so it waits until one is started."""

AT_WORK = frozenset({Code.COMPLETED, Code.RUNNING, Code.AHEAD, Code.NEXT, Code.LINING_UP})
"""All is well: the job runs, is done, or takes its turn."""

_TURNS = frozenset({Code.AHEAD, Code.NEXT, Code.QUARANTINE})


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a job will start: between two moments, in UTC. Both are None if it is unknown; `latest` alone if only the
    earliest moment is certain.

    basis: what the estimate rests on, or why there is none.
    """

    earliest: datetime | None
    latest: datetime | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason why a job does not run now.

    code: a word that stays, for programs.
    sentence: the reason, for people.
    facts: its figures and names, as JSON values and moments.
    advice: what to do now; `command` does it, or shows more.
    start: when the job may start as far as this reason is concerned; None if it runs, or is over.
    """

    code: str
    sentence: str
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    advice: str | None = None
    command: str | None = None
    start: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a job does not run, at one moment: the leading reason first, then others that would hold it as well.

    start: when it will start, all reasons together; None if it runs, or is over.
    """

    job: str
    state: State
    kind: str
    queue: str
    at: datetime
    reasons: Sequence[Reason]
    start: Estimate | None

    @property
    def leading(self) -> Reason:
        """The reason that has to go first."""
        return self.reasons[0]

    def __str__(self) -> str:
        return self.leading.sentence


def waits_for(why: Why) -> str | None:
    """Return why a pending job waits, as a clause; None if only earlier jobs are the cause, or nothing."""
    return None if why.leading.code in _TURNS else clause(why.leading.sentence)


def clause(sentence: str) -> str:
    """Return a sentence as a part of another one."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def together(starts: Iterable[Estimate | None]) -> Estimate | None:
    """Return when a job starts that several things keep: after the last of them, unknown if one of them is unknown."""
    known = [start for start in starts if start is not None]
    if not known:
        return None
    unknown = [start for start in known if start.earliest is None]
    if unknown:
        return unknown[0]
    last = max((start for start in known if start.earliest is not None), key=_earliest)
    ends = [start.latest for start in known if start.latest is not None]
    latest = max(ends) if len(ends) == len(known) else None
    return Estimate(last.earliest, latest, last.basis)


def _earliest(start: Estimate) -> datetime:
    assert start.earliest is not None
    return start.earliest
