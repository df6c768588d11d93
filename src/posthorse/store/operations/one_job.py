"""One job, as the operations that change it lock it and look at it."""

from __future__ import annotations

from typing import NamedTuple

from posthorse.rules.lifecycle import Request
from posthorse.store.base import TypedQuery


class LockedJob(NamedTuple):
    """A job that no other process changes until the end of the transaction. The last six are its lane."""

    state: str
    """As stored: one that a runner holds has a lease, too."""
    lane: int
    seq: int
    run_at: int | None
    now: int
    queue: str
    kind: str
    priority: int
    solo: int
    tenant: str
    keyed: int


LOCK_JOB = TypedQuery("lock_job", LockedJob)
HELD_LEASE = TypedQuery("held_lease", tuple[int, str])
WITHDRAW = TypedQuery("withdraw", tuple[int])
OWNER_STATE = TypedQuery("owner_state", tuple[str, str, int])
IDENTITY_OF = TypedQuery("identity_of", tuple[str | None, str, str, str | None, int])
UNASK_RUNNER = TypedQuery("unask_runner", tuple[Request])
ARGUMENTS = TypedQuery("arguments", tuple[str])
