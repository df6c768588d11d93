"""The values that go into a claim and come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from math import inf
from typing import NamedTuple

import msgspec

from posthorse.rules.job import Lane
from posthorse.rules.queues import QueueSettings
from posthorse.store.operations.claim import Claimed


class ClaimRequest(NamedTuple):
    """What the runner knows before a claim."""

    room: int
    """How many jobs it wants."""
    limited_room: int
    """How many of them may have limits: its free slots, because jobs with limits are never claimed ahead."""
    is_empty: bool
    """True if the runner has no other job; only then may it get a suspect."""
    is_woken: bool
    """True if a wake says for certain that there is work, and is not just a hint."""


class ClaimedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that the runner now holds, with what was read along with it."""

    claimed: Claimed
    lane: Lane
    queue: QueueSettings
    gates: Sequence[str] | None
    """The gates that it passed as a job with limits of its own; None if it has none."""


class LookAgain(Enum):
    """When to make the next claim."""

    AT_ONCE = auto()
    """As soon as the runner wants more jobs; it may claim them ahead of free slots."""
    WHEN_ROOM = auto()
    """The same, but without claiming ahead: the next job has limits, so it needs a free slot."""
    WHEN_WOKEN = auto()
    """When the runner is woken, or at the time in `Claim.opens_at`: there is nothing for it now."""


class Claim(NamedTuple):
    """The outcome of a claim."""

    jobs: Sequence[ClaimedJob]
    """The jobs, those of the highest priority first."""
    look_again: LookAgain
    opens_at: float = inf
    """When to look at the first shut gate again, in monotonic seconds; infinity if none is shut."""
    is_suspect: bool = False
    """True if the job is a suspect, which runs alone: claim nothing else before it has ended."""
