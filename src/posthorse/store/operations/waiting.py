"""Jobs that wait for others: they are lined up, skipped, ended by their children, or wait again. Parts of operations.

Locks are taken in one order: notes of ends, edges, joins by their jobs, jobs by their ids, and then their places. A job
that is written here is locked before, and so is its join.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse import ids
from posthorse.rules.event_names import EventName
from posthorse.rules.job import Options, State
from posthorse.rules.joins import HAS_CHILDREN, NEEDS_OTHERS, Join, Next, Phase, end_of_parent, next_of, why_skipped
from posthorse.store.base import QuerySteps, TypedQuery, query, query_rows
from posthorse.store.operations import ends
from posthorse.store.operations.recording import record
from posthorse.store.operations.stock_ends import order_again


class LockedWaiter(NamedTuple):
    """A job that was locked together with others."""

    job: str
    state: str
    run_at: int | None
    now: int


class JoinChange(NamedTuple):
    """What is counted in a join: edges that were met, children that ended, and how many more dead letters they are."""

    met: int = 0
    ended: int = 0
    failed: int = 0

    def and_more(self, met: int = 0, ended: int = 0, failed: int = 0) -> JoinChange:
        """Return the sum of two changes."""
        return JoinChange(self.met + met, self.ended + ended, self.failed + failed)


class FailedChild(NamedTuple):
    """A child that is a dead letter."""

    job: str
    reason: str | None
    options: str | None


COUNT_JOINS = TypedQuery("count_joins", Join)
JOIN_OF = TypedQuery("join_of", Join)
LOCK_JOBS = TypedQuery("lock_jobs", LockedWaiter)
WAITING_AMONG = TypedQuery("waiting_among", tuple[str])
PARENTS_OF = TypedQuery("parents_of", tuple[str, str])
BLOCK_AGAIN = TypedQuery("block_again", tuple[int])

FAILED_CHILDREN = TypedQuery("failed_children", FailedChild)
LOCK_FAMILY = TypedQuery("lock_family", Join)
RECOUNT_MISSING = TypedQuery("recount_missing", tuple[int])
BARRING = TypedQuery("barring", tuple[str, str])

NOTHING = JoinChange()
DEAD_AT_ONCE = 1_000


class Family(NamedTuple):
    """The locked joins of a job and of its parent; None if they have none."""

    own: Join | None
    parent: Join | None

    @property
    def waits_for_children(self) -> bool:
        """Whether the job is a parent whose own code is done, and children of it are not over."""
        return self.own is not None and self.own.waits_for_children


def lock_family(job: str) -> QuerySteps[Family]:
    """Lock the joins of a job and of its parent. Whatever steers a job does this before it locks the job."""
    joins = {join.job: join for join in (yield from LOCK_FAMILY(job=job))}
    own = joins.pop(job, None)
    return Family(own, next(iter(joins.values()), None))


def recounted(join: Join) -> QuerySteps[Join]:
    """Return a locked join with its needs counted again: what a job needs may have been removed since it was over."""
    [(missing,)] = yield from RECOUNT_MISSING(job=join.job)
    return join._replace(missing=missing)


def barring(job: str) -> QuerySteps[tuple[str, State] | None]:
    """Return a job that is over without having given a job what it needs, and its state."""
    rows = yield from BARRING(job=job)
    return (rows[0][0], State(rows[0][1])) if rows else None


def count(changes: Mapping[str, JoinChange]) -> QuerySteps[dict[str, Join]]:
    """Lock joins and count; return what they wait for now, without jobs that have no join."""
    if not changes:
        return {}
    rows = [(job, *changes[job]) for job in sorted(changes)]
    return {join.job: join for join in (yield from COUNT_JOINS(rows))}


def parents_of(jobs: Collection[str]) -> QuerySteps[dict[str, str]]:
    """Return the parents of those of the jobs that have one."""
    return dict((yield from PARENTS_OF([(job,) for job in sorted(jobs)]))) if jobs else {}


def dead_since(join: Join, joins: int) -> QuerySteps[tuple[int, FailedChild | None]]:
    """Return how many children are dead letters that a job added after so many joins, and the last one of them.

    Each child carries how many joins came before it. The count of the join knows nothing of that, and falls when an
    earlier dead letter is retried.
    """
    dead, last, after = 0, None, ids.first_of(0)
    rows = (yield from FAILED_CHILDREN(parent=join.job, after=after, limit=DEAD_AT_ONCE)) if join.failed else ()
    while rows:
        for row in rows:
            place = Options.decode(row.options).flow
            if (0 if place is None else place.round) >= joins:
                dead, last = dead + 1, row
        if len(rows) < DEAD_AT_ONCE:
            break
        rows = yield from FAILED_CHILDREN(parent=join.job, after=rows[-1].job, limit=DEAD_AT_ONCE)
    return dead, last


def move_on(joins: Sequence[Join], parents: Mapping[str, str], asked: Mapping[str, str]) -> QuerySteps[None]:
    """Line up or end jobs whose locked joins have nothing left to wait for.

    asked: what was requested of the families of parents.
    """
    due = {join.job: join for join in joins if join.is_done and not join.skipped}
    if not due:
        return
    order = [(job,) for job in sorted(due)]
    locked = {one.job: one for one in (yield from LOCK_JOBS(order))}
    waiting = sorted(job for (job,) in (yield from WAITING_AMONG(order)))
    ready: list[tuple[str]] = []
    later: list[tuple[str, int]] = []
    again: list[tuple[str, Phase, int]] = []
    for job in waiting:
        join, moment = due[job], locked[job].now
        match next_of(join, asked.get(parents.get(job, ""))):
            case Next.END:
                yield from _end(join)
            case Next.LINE_UP:
                if join.phase == "run":
                    again.append((job, "again", 0))
                due_at = max(locked[job].run_at or 0, moment + (join.wait or 0))
                if due_at > moment:
                    later.append((job, due_at))
                else:
                    ready.append((job,))
            case Next.WAIT:
                pass
    if again:
        yield query_rows("set_phases", again)
    if ready:
        yield query_rows("line_up_waiting", ready)
    if later:
        yield query_rows("schedule_waiting", later)


def go_on_if_done(job: str) -> QuerySteps[None]:
    """Line up or end a job, if it has nothing left to wait for."""
    joins = yield from count({job: NOTHING})
    yield from move_on([*joins.values()], {}, {})


def skip(job: str, needed: str, state: State) -> QuerySteps[None]:
    """Cancel a job that waits, because a job that it needs ended otherwise; nothing if it does not wait any more."""
    yield from LOCK_JOBS([(job,)])
    if not (yield from WAITING_AMONG([(job,)])):
        return
    yield query("unpark", job=job)
    reason = why_skipped(needed, state)
    version = yield from ends.cancel(job, State.BLOCKED, reason)
    yield query("set_skipped", job=job, skipped=1)
    yield from record(job, version, "cancelled", _detail(reason))


def wait_again(job: str, reason: str, *, why: str) -> QuerySteps[None]:
    """Let a job that is over, and locked, wait for others again."""
    [(version,)] = yield from BLOCK_AGAIN(job=job, reason=reason)
    yield query("unpark", job=job)
    yield query("park", job=job, state=State.BLOCKED.value, due_at=None, place=None)
    yield query("set_skipped", job=job, skipped=0)
    yield from record(job, version, "retried", _detail(why))


def come_back(job: str) -> QuerySteps[bool]:
    """Let a skipped job wait again, because its needs are met now; False if it is not skipped any more."""
    [locked] = yield from LOCK_JOBS([(job,)])
    if locked.state != State.CANCELLED:
        return False
    yield from wait_again(job, NEEDS_OTHERS, why="what it needs has happened now")
    return True


def set_phase(job: str, phase: Phase) -> QuerySteps[None]:
    """Write what follows when the children of a job are over whose join is locked."""
    yield query_rows("set_phases", [(job, phase, 0)])


def open_again(parent: str, *, failed: int = 0) -> QuerySteps[None]:
    """Count a child that is not over any more: its parent, and what is above, waits again if it was over.

    failed: how many dead letters fewer there are.
    """
    counted = yield from count({parent: JoinChange(ended=-1, failed=-failed)})
    if not counted:
        return
    [locked] = yield from LOCK_JOBS([(parent,)])
    state = State(locked.state)
    if not state.is_final:
        return
    yield query("ask_family_no_more", job=parent)
    if counted[parent].skipped:
        return  # it comes back with its own needs
    if counted[parent].phase == "again":
        yield from set_phase(parent, "run")
    if state is State.COMPLETED:
        yield from order_again(parent)
    yield from wait_again(parent, HAS_CHILDREN, why="a job of its family runs again")
    above = yield from parents_of([parent])
    if parent in above:
        yield from open_again(above[parent], failed=state is State.FAILED)


def _end(join: Join) -> QuerySteps[None]:
    if join.failed and join.passed:
        dead, _ = yield from dead_since(join, join.passed)
        join = join._replace(failed=dead)
    end = end_of_parent(join)
    yield query("unpark", job=join.job)
    version = yield from ends.end_parent(join.job, end)
    if end.state is State.FAILED:
        yield query("park", job=join.job, state=end.state.value, due_at=None, place=None)
    if end.state is not State.COMPLETED:
        name: EventName = "failed" if end.state is State.FAILED else "cancelled"
        yield from record(join.job, version, name, _detail(end.reason or ""))


def _detail(told: str) -> str:
    return msgspec.json.encode({"detail": told}).decode()
