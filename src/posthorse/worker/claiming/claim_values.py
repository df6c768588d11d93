"""What a runner asks of a claim, and what came of it. Values only."""

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
    """How many of them may have limits. Such jobs are not claimed ahead, so these are its free slots."""
    is_empty: bool
    """True when no other job is in the runner; only then may it get a suspect."""
    is_woken: bool
    """True when it was told for certain that there is work, and not by a mere hint."""


class ClaimedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that the runner holds now, and what was found with it."""

    claimed: Claimed
    lane: Lane
    queue: QueueSettings
    gates: Sequence[str] | None
    """The gates of its own that it passed; None for a job without limits."""


class LookAgain(Enum):
    """When the next claim should be."""

    AT_ONCE = auto()
    """As soon as the runner wants more jobs, which it may claim ahead of free slots."""
    WHEN_ROOM = auto()
    """The same, but nothing should be claimed ahead: it is the turn of a job with limits, which needs a free slot."""
    WHEN_WOKEN = auto()
    """When the runner is woken, or at the moment that the claim names: there is nothing for it now."""


class Claim(NamedTuple):
    """What came of a claim."""

    jobs: Sequence[ClaimedJob]
    """Those of the highest priority first."""
    look_again: LookAgain
    opens_at: float = inf
    """When to look at the first gate that is shut again, in monotonic seconds; infinity when none is shut."""
    is_suspect: bool = False
    """True when the job is a suspect, which runs alone: nothing else may be claimed before it has ended."""
