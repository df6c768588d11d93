"""Control: what users ask of a job, whether it waits, runs or is over."""

from __future__ import annotations

from typing import Literal, cast

from posthorse.errors import JobNotFound, NotAllowed
from posthorse.rules.job import Lane, State
from posthorse.rules.lifecycle import Policy, Spent, Stopped, decide, requested
from posthorse.store.base import Ask, Steps, ask, operation
from posthorse.store.operations.finish import PARKED_STATES, Attempt, place, settle
from posthorse.store.operations.submit import lane_id

Request = Literal["pause", "resume", "cancel", "retry"]

_EVENTS: dict[Request, str] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}


@operation
def request(job: str, action: Request, *, force: bool, channel: str) -> Steps[State]:
    """Does what is asked of a job that nobody runs, or asks its runner; answers with the state it leads to.

    A running job stops at its next checkpoint; with `force` its lease is taken away at once, and whatever it
    still does counts for nothing. Raises JobNotFound, NotAllowed.
    """
    if force and action in ("pause", "cancel"):
        forced = yield from _take_away(job, action, channel)
        if forced is not None:
            return forced
    while True:
        rows = yield ask("lock_job", job=job)
        if not rows:
            raise JobNotFound(f"no job has the id {job}")
        stored, lane, seq, run_at, _, _, _, _, queue, kind, priority, now = rows[0]
        state = State(stored)
        if (yield ask("held_lease", job=job)):
            return (yield from _ask_runner(job, action))
        target = requested(state, action)
        if target is None:
            raise NotAllowed(f"job {job} is {state.value}, so it cannot be {_EVENTS[action]}")
        if target is state:
            return state
        if state is State.PENDING and not (yield ask("withdraw", lane=lane, seq=seq, job=job)):
            continue  # claimed between the two looks
        if state in PARKED_STATES:
            yield ask("unpark", job=job)
        due = cast("int | None", run_at)
        if action == "resume" and due is not None and due > cast("int", now):
            target = State.SCHEDULED
        if action == "retry":
            home = yield from lane_id(Lane(cast("str", queue), cast("str", kind), cast("int", priority)))
            written = yield ask("revive", job=job, reason=None, lane=home)
        else:
            written = yield _move(job, target, action)
        yield from place(job, target, run_at=due, channel=channel)
        yield ask("record", job=job, version=written[0][0], name=_EVENTS[action], detail=None)
        return target


def _move(job: str, target: State, action: Request) -> Ask:
    reason = None if action == "resume" else f"{_EVENTS[action]} on request"
    return ask("move", job=job, state=target.value, reason=reason, is_final=target.is_final)


def _ask_runner(job: str, action: Request) -> Steps[State]:
    if action in ("pause", "cancel"):
        lease = yield ask("held_lease", job=job)
        yield ask("ask_runner", job=job, runner=lease[0][1], action=action)
    elif action == "resume":
        yield ask("withdraw_pause", job=job)
    else:
        raise NotAllowed(f"job {job} is processing, so it cannot be retried; cancel it first")
    return State.PROCESSING


def _take_away(job: str, action: Request, channel: str) -> Steps[State | None]:
    """Ends the lease first and touches the job after, in the order of every worker: no deadlock."""
    lease = yield ask("held_lease", job=job)
    if not lease:
        return None
    epoch = cast("int", lease[0][0])
    rows = yield ask("job_budget", job=job)
    errors, crashes, losses, queue, kind, priority = cast("tuple[int, int, int, str, str, int]", rows[0])
    transition = decide(Spent(errors, crashes, losses), Stopped(action), Policy())
    home = Lane(queue, kind, priority)
    done = yield from settle(Attempt(job, epoch), transition, home, None, channel=channel).start()
    return transition.state if done else None
