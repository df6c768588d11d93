"""Move a job that no runner holds: into its lane, into `parked`, or where a user requests. Used by operations."""

from __future__ import annotations

import msgspec

from posthorse import ids
from posthorse.errors import InvalidTransition, StoreError
from posthorse.rules.event_names import EventName
from posthorse.rules.job import State
from posthorse.rules.joins import Join
from posthorse.rules.loop_state import decode_loops, encode_loops, forgiven
from posthorse.rules.packing import PACKED, PLAIN, Packing
from posthorse.rules.requests import ACTIONS, Action, Request, state_after
from posthorse.store.base import QuerySteps, TypedQuery, query
from posthorse.store.operations import ends
from posthorse.store.operations.lanes import home_of, lane_id
from posthorse.store.operations.one_job import ARGUMENTS, HELD_LEASE, LOCK_JOB, WITHDRAW, missing
from posthorse.store.operations.recording import record
from posthorse.store.operations.unique import claim_identity_again
from posthorse.store.operations.waiting import (
    LOCK_JOBS,
    Family,
    JoinChange,
    barring,
    count,
    go_on_if_done,
    lock_family,
    open_again,
    recounted,
    set_phase,
    skip,
)

PARKED_STATES = (State.SCHEDULED, State.BLOCKED, State.PAUSED, State.FAILED)

EVENTS: dict[Request, EventName] = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "retry": "retried",
    "discard": "discarded",
}

REASONS: dict[Request, str] = {
    "pause": "paused on request",
    "cancel": "cancelled on request",
    "discard": "discarded",
}

MAX_BEFORE = 10_000
"""Maximum length, in characters, of replaced arguments that are kept."""

PAUSE_JOB = TypedQuery("pause_job", tuple[int, int | None])
RESUME_JOB = TypedQuery("resume_job", tuple[int, int | None])
REVIVE = TypedQuery("revive", tuple[int, int | None])
LOOPS_OF = TypedQuery("loops_of", tuple[str])

_MAX_LOOKS = 20


def place(job: str, state: State, *, run_at: int | None) -> QuerySteps[None]:
    """Put a job where its state belongs."""
    if state is State.PENDING:
        yield query("admit", job=job)
    elif state in PARKED_STATES:
        # A job that waits for others has no time at which it is lined up, whatever they do.
        due_at = run_at if state is State.SCHEDULED else None
        yield query("park", job=job, state=state.value, due_at=due_at, place=None)


def do_as_asked(
    job: str, request: Request, *, wait: int | None = None, arguments: str | None = None, packing: Packing = PLAIN
) -> QuerySteps[State]:
    """Do what is requested of a job, or pass it to its runner; return the state that the job is in afterwards.

    A retry may wait so many microseconds, and have other arguments, packed. What is requested of a parent is done to
    its children, too, from then on (`families_steered`). Raises JobNotFound, InvalidTransition, and CodecError where a
    retry must know the arguments of a job.
    """
    family = yield from lock_family(job)
    if request == "retry" and family.own is not None and family.own.missing:
        family = family._replace(own=(yield from recounted(family.own)))
    for _ in range(_MAX_LOOKS):
        rows = yield from LOCK_JOB(job=job)
        if not rows:
            raise (yield from missing(job))
        [locked] = rows
        lease = yield from HELD_LEASE(job=job)
        state = State.PROCESSING if lease else State(locked.state)
        action = ACTIONS[state, request]
        if action is Action.REFUSE:
            advice = "; cancel it first" if state is State.PROCESSING else ""
            raise InvalidTransition(f"job {job} is {state.value}, so it cannot be {EVENTS[request]}{advice}")
        if action is Action.RETRY:
            yield from _check_needs(job, family)
            yield from _check_family(job, family.parent)
            if arguments is not None and family.own is not None and family.own.runs_again:
                raise InvalidTransition(
                    f"job {job} has parts or children, which keep the arguments that they have; retry it without "
                    "arguments, or enqueue a new job"
                )
        if action is Action.ASK_RUNNER:
            yield query("ask_runner", job=job, runner=lease[0][1], action=request)
        elif action is Action.WITHDRAW_PAUSE:
            yield query("withdraw_pause", job=job)
        yield from _ask_children(family, request, action)
        due = locked.run_at
        is_early = due is not None and due > locked.now
        blocks = family.own is not None and (family.own.blocks or (action is Action.RETRY and family.own.runs_again))
        if action is Action.CANCEL and state in (State.BLOCKED, State.PAUSED) and family.waits_for_children:
            return (yield from _cancel_after_children(job, state))
        target = state_after(action, waits=is_early if action is Action.RESUME else bool(wait), blocks=blocks)
        if target is None:
            return state
        detail = None
        if action is Action.RETRY:
            detail = (yield from _with_arguments(job, arguments)) if arguments is not None else None
            yield from claim_identity_again(job, packing)
            yield query("leave_sequence", job=job, is_dead=state is State.FAILED)
            yield from _forget_errors(job)
            yield query("forget_deadlines", job=job)
        if state is State.PENDING and not (yield from WITHDRAW(lane=locked.lane, seq=locked.seq, job=job)):
            continue  # claimed between the two queries
        if state in PARKED_STATES:
            yield query("unpark", job=job)
        reason, waits, blocks = REASONS.get(request), target is State.SCHEDULED, target is State.BLOCKED
        if action is Action.RETRY:
            number = yield from lane_id(home_of(*locked[5:]))
            if (
                family.own is not None and family.own.phase == "again"
            ):  # it waits for the children that are retried first
                yield from set_phase(job, "run")
            [(version, due)] = yield from REVIVE(job=job, waits=waits, blocks=blocks, lane=number, wait=wait or None)
        elif action is Action.CANCEL:
            version = yield from ends.cancel(job, state, reason)
        elif action is Action.PAUSE:
            [(version, _)] = yield from PAUSE_JOB(job=job, reason=reason)
        else:
            if not blocks and family.own is not None and family.own.phase == "run":
                yield from set_phase(job, "again")
            [(version, _)] = yield from RESUME_JOB(job=job, waits=waits, blocks=blocks)
        yield from place(job, target, run_at=due)
        yield from record(job, version, EVENTS[request], detail)
        return (yield from _tell_family(job, family, action, state, target))
    raise StoreError(
        f"job {job} is pending, but neither in a lane nor held by a runner: the store was changed by hand or is "
        "damaged; run `posthorse doctor`"
    )


def _check_needs(job: str, family: Family) -> QuerySteps[None]:
    """Raise InvalidTransition if a job would be skipped at once."""
    if family.own is None or not family.own.missing:
        return
    if (barred := (yield from barring(job))) is not None:
        needed, state = barred
        raise InvalidTransition(
            f"job {job} needs {needed}, which is {state.value}, so it cannot be retried; retry that one, and this one "
            "comes back by itself"
        )


def _check_family(job: str, parent: Join | None) -> QuerySteps[None]:
    """Raise InvalidTransition if the family of a job is being cancelled: nothing of it is lined up, so it would wait
    for ever, and its parent for it."""
    if parent is not None and parent.asked == "cancel" and not (yield from _is_over(parent.job)):
        raise InvalidTransition(
            f"job {job} is a part of job {parent.job}, which is being cancelled, so it cannot be retried; retry it "
            "when that one is over"
        )


def _is_over(job: str) -> QuerySteps[bool]:
    locked = yield from LOCK_JOBS([(job,)])
    return all(State(one.state).is_final for one in locked)


def _ask_children(family: Family, request: Request, action: Action) -> QuerySteps[None]:
    """Begin to do the same to the children of a parent."""
    own = family.own
    if own is None or not own.total or action is Action.KEEP or request == "discard":
        return
    if request != "retry" or own.phase is not None:
        yield query("ask_family", job=own.job, asked=request, first=ids.first_of(0))


def _cancel_after_children(job: str, state: State) -> QuerySteps[State]:
    """Let a parent wait until its children are cancelled; it is over after them."""
    if state is State.PAUSED:
        yield query("unpark", job=job)
        [(version, _)] = yield from RESUME_JOB(job=job, waits=False, blocks=True)
        yield from place(job, State.BLOCKED, run_at=None)
        yield from record(job, version, EVENTS["resume"])
    return State.BLOCKED


def _tell_family(job: str, family: Family, action: Action, was: State, target: State) -> QuerySteps[State]:
    """Count for its parent that a job is not over any more; let one go on that waits for nothing. Return its state."""
    own, parent = family
    # A parent that failed before it obeyed a pause is never resumed: its children are, one by one.
    if action is Action.RESUME and parent is not None and parent.asked == "pause" and (yield from _is_over(parent.job)):
        yield query("ask_family_no_more", job=parent.job)
    if parent is not None and was.is_final:
        if action is Action.RETRY:
            yield from open_again(parent.job, failed=was is State.FAILED)
        elif was is State.FAILED:
            yield from count({parent.job: JoinChange(failed=-1)})
    if own is None:
        return target
    if action is Action.RETRY and own.skipped:
        yield query("set_skipped", job=job, skipped=0)
    if target is State.BLOCKED and own.missing and (barred := (yield from barring(job))) is not None:
        yield from skip(job, *barred)
        return State.CANCELLED
    if target is State.BLOCKED:
        yield from go_on_if_done(job)
    return target


def _forget_errors(job: str) -> QuerySteps[None]:
    """Forget errors: a retry counts them from none, so none came before a slice."""
    rows = yield from LOOPS_OF(job=job)
    loops = decode_loops(rows[0][0]) if rows else {}
    if forgiven(loops.values()):
        for loop in loops.values():
            loop.failed = 0
        yield query("rewrite_cursors", job=job, cursors=encode_loops(loops))


def _with_arguments(job: str, arguments: str) -> QuerySteps[str]:
    """Rewrite the arguments of a job; return the detail of the event, which keeps the old ones if they are short."""
    [(before,)] = yield from ARGUMENTS(job=job)
    yield query("rewrite_arguments", job=job, arguments=arguments)
    told: dict[str, object] = {"detail": "with other arguments"}
    if len(before) <= MAX_BEFORE:
        told["before"] = before if before.startswith(PACKED) else msgspec.Raw(before.encode())
    return msgspec.json.encode(told).decode()
