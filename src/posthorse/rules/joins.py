"""What an end of a job means to those that wait for it: its dependents, and its parent. Pure.

An *edge* says that a dependent needs an end of a job. It is met once, whatever happens to the job later. A *join*
counts what a job waits for: edges that are not met, and children that are not over.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple, get_args

from posthorse.rules.job import JobError, State

Need = Literal["completed", "failed", "over"]
"""Which end of a job its dependent needs; `over` is any."""
NEEDS: tuple[Need, ...] = get_args(Need)

Phase = Literal["end", "run", "again"]
"""What follows when a parent has nothing left to wait for: it ends, because its own code is done or it has none; or it
runs again. `again`: it does that already, so children that it adds then do not hold it up. A job without a phase has
not waited for children yet.
"""

NEEDS_OTHERS = "waits for other jobs"
HAS_CHILDREN = "waits for its children"
WAITS_FOR_ROOM = "waits until fewer parts of its job run"
SKIPPED = "skipped: "
"""How the reason of a job begins that was cancelled because its needs cannot be met."""


class Edge(NamedTuple):
    """`dependent` needs an end of `job`."""

    job: str
    dependent: str
    needs: Need = "completed"


class Join(NamedTuple):
    """For what a job waits, as stored.

    missing: edges that are not met. open: children that are not over, or not counted yet. failed: children that are
    dead letters. asked: what a user requested of the whole family. wait: microseconds between its needs and its start.
    """

    job: str
    missing: int
    open: int
    failed: int
    total: int
    skipped: int
    """Whether the job was cancelled because its needs could not be met; it comes back when they are."""
    asked: str | None
    phase: str | None
    """A `Phase`."""
    wait: int | None
    width: int | None = None
    """How many of its children may run at once; None for no limit."""
    passed: int = 0
    """How many joins its code went past before it returned. What failed before them does not fail it."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to wait for. Children do not hold up a job whose own code did not return yet."""
        return self.missing == 0 and not self.waits_for_children

    @property
    def waits_for_children(self) -> bool:
        """Whether the job is a parent whose own code is done, at least until children are over that are not."""
        return self.open > 0 and self.phase in ("end", "run")

    @property
    def blocks(self) -> bool:
        """Whether the job waits when it goes on after a pause or a retry, and does not run."""
        return not self.is_done or self.phase == "end"

    @property
    def runs_again(self) -> bool:
        """Whether the job runs once more after its children. Before a retry of it, those that failed are retried."""
        return self.phase in ("run", "again") and self.total > 0

    @property
    def comes_back(self) -> bool:
        """Whether the job was skipped, and its needs are met now."""
        return bool(self.skipped) and self.missing == 0


class Next(Enum):
    """What becomes of a blocked job."""

    WAIT = "it waits for more"
    LINE_UP = "it may run"
    END = "its children ended it"


def next_of(join: Join, family_asked: str | None = None) -> Next:
    """Return what becomes of a blocked job. family_asked: what was requested of the family that it belongs to."""
    if not join.is_done or join.asked in ("pause", "retry"):
        return Next.WAIT
    if join.phase == "end" or join.asked == "cancel":
        return Next.END
    return Next.WAIT if family_asked in ("pause", "cancel") else Next.LINE_UP


class ParentEnd(NamedTuple):
    """How a parent ends by its children."""

    state: State
    reason: str | None = None
    error: JobError | None = None


def end_of_parent(join: Join) -> ParentEnd:
    """Return how a parent ends whose children are over."""
    if join.asked == "cancel":
        return ParentEnd(State.CANCELLED, "cancelled on request")
    if join.failed:
        told = f"{join.failed} of {join.total} children failed"
        return ParentEnd(State.FAILED, told, JobError("ChildFailed", told))
    return ParentEnd(State.COMPLETED)


def is_met(needs: str, state: State) -> bool:
    """Return whether a job in this state gives a dependent what it needs."""
    return state.is_final and needs in ("over", state.value)


def is_barred(needs: str, state: State) -> bool:
    """Return whether a job is over, and did not give a dependent what it needs."""
    return state.is_final and not is_met(needs, state)


def why_skipped(job: str, state: State) -> str:
    """Return the reason of a job that was skipped because of how another one ended."""
    return f"{SKIPPED}needs {job}, which {'was cancelled' if state is State.CANCELLED else state.value}"
