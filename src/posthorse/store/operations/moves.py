"""Moving a job that nobody runs: into its lane, aside, or where a user asks it to be. Parts of other operations."""

from __future__ import annotations

from typing import cast

import msgspec

from posthorse.errors import InvalidTransition, JobNotFound, StoreError
from posthorse.rules.filters import Verb as Request
from posthorse.rules.job import State
from posthorse.rules.lifecycle import requested
from posthorse.rules.loops import decode_loops, encode_loops, forgiven
from posthorse.store.base import BoundQuery, QuerySteps, query
from posthorse.store.operations.submit import home_of, lane_id
from posthorse.store.operations.unique import claim_identity_again

__all__ = ["Request"]

PARKED_STATES = (State.SCHEDULED, State.BLOCKED, State.PAUSED, State.FAILED)

EVENTS: dict[Request, str] = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "retry": "retried",
    "discard": "discarded",
}

MAX_BEFORE = 10_000
"""Characters of arguments that are kept when others take their place."""

_MAX_LOOKS = 20


def place(job: str, state: State, *, run_at: int | None, channel: str) -> QuerySteps[None]:
    """Puts a job where its state belongs."""
    if state is State.PENDING:
        yield query("admit", job=job, channel=channel)
    elif state in PARKED_STATES:
        waits = state in (State.SCHEDULED, State.BLOCKED)
        yield query("park", job=job, state=state.value, due_at=run_at if waits else None, place=None)


def do_as_asked(
    job: str, action: Request, *, channel: str, wait: int | None = None, arguments: str | None = None
) -> QuerySteps[State]:
    """Does what is asked of a job, or asks its runner; answers with the state it leads to.

    A retry may wait so many microseconds, and have other arguments.
    Raises JobNotFound, InvalidTransition.
    """
    detail: str | None = None
    for _ in range(_MAX_LOOKS):
        rows = yield query("lock_job", job=job)
        if not rows:
            raise JobNotFound(f"no job has the id {job}")
        stored, lane, seq, run_at, now, *home = rows[0]
        state = State(cast("str", stored))
        lease = yield query("held_lease", job=job)
        if lease:
            return (yield from _ask_runner(job, action, cast("str", lease[0][1])))
        target = requested(state, action)
        if target is None:
            raise InvalidTransition(f"job {job} is {state.value}, so it cannot be {EVENTS[action]}")
        if target is state:
            return state
        if action == "retry":
            detail = (yield from _with_arguments(job, arguments)) if arguments is not None else None
            yield from claim_identity_again(job)
            yield query("leave_sequence", job=job, is_dead=state is State.FAILED)
            yield from _forget_errors(job)
            target = State.SCHEDULED if wait else target
        if state is State.PENDING and not (yield query("withdraw", lane=lane, seq=seq, job=job)):
            continue  # claimed between the two looks
        if state in PARKED_STATES:
            yield query("unpark", job=job)
        due = cast("int | None", run_at)
        if action == "resume" and due is not None and due > cast("int", now):
            target = State.SCHEDULED
        if action == "retry":
            number = yield from lane_id(home_of(home))
            written = yield query("revive", job=job, state=target.value, reason=None, lane=number, wait=wait or None)
            due = cast("int | None", written[0][1])
        else:
            written = yield _move(job, target, action)
        yield from place(job, target, run_at=due, channel=channel)
        yield query("record", job=job, version=written[0][0], name=EVENTS[action], detail=detail)
        return target
    raise StoreError(
        f"job {job} is pending but in no lane and held by nobody: the store was changed by hand or is damaged; "
        "run `posthorse doctor`"
    )


def _forget_errors(job: str) -> QuerySteps[None]:
    """A retry counts errors from none, so none of them came before a slice."""
    rows = yield query("loops_of", job=job)
    loops = decode_loops(cast("str", rows[0][0])) if rows else {}
    if forgiven(loops.values()):
        for loop in loops.values():
            loop.failed = 0
        yield query("rewrite_cursors", job=job, cursors=encode_loops(loops))


def _with_arguments(job: str, arguments: str) -> QuerySteps[str]:
    """Rewrites the arguments of a job; answers with the detail of the event, which keeps the old ones if short."""
    rows = yield query("arguments", job=job)
    before = cast("str", rows[0][0])
    yield query("rewrite_arguments", job=job, arguments=arguments)
    told: dict[str, object] = {"detail": "with other arguments"}
    if len(before) <= MAX_BEFORE:
        told["before"] = msgspec.Raw(before.encode())
    return msgspec.json.encode(told).decode()


def _ask_runner(job: str, action: Request, runner: str) -> QuerySteps[State]:
    if action in ("pause", "cancel"):
        yield query("ask_runner", job=job, runner=runner, action=action)
    elif action == "resume":
        yield query("withdraw_pause", job=job)
    else:
        raise InvalidTransition(f"job {job} is processing, so it cannot be {EVENTS[action]}; cancel it first")
    return State.PROCESSING


def _move(job: str, target: State, action: Request) -> BoundQuery:
    reason = None if action == "resume" else "discarded" if action == "discard" else f"{EVENTS[action]} on request"
    return query("move", job=job, state=target.value, reason=reason, is_final=target.is_final)
