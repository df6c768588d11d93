"""Superseding: a waiting job that was never started gets the arguments of a newer one with the same identity.

A job that has started stays as it is: its attempts, and the cursors of a long job, belong to its arguments.
"""

from __future__ import annotations

from typing import cast

import msgspec

from posthorse.errors import NotUnique
from posthorse.rules.job import NewJob, Options, State
from posthorse.rules.unique import Identity
from posthorse.store.base import QuerySteps, TypedQuery, query
from posthorse.store.operations.one_job import IDENTITY_OF, LOCK_JOB, OWNER_STATE, WITHDRAW
from posthorse.store.operations.recording import record

SUPERSEDE = TypedQuery("supersede", tuple[int])

_MAX_LOOKS = 20


def supersede(earlier: str, new: NewJob, arguments: str) -> QuerySteps[bool]:
    """Give a waiting job these arguments, the options and tags of another, and if that one says so, its time.

    Queue, priority, position and sequence stay. Returns False if the job has started; it then stays as it is. If a job
    is postponed a thousand times, its events count that, and only the last time is stored. Raises NotUnique for the job
    of another submitter.
    """
    for _ in range(_MAX_LOOKS):
        rows = yield from LOCK_JOB(job=earlier)
        owner = yield from OWNER_STATE([(earlier,)])
        if not rows or not owner or owner[0][2]:
            return False
        [locked] = rows
        state = State(locked.state)
        if state.is_final:
            return False
        # Removed even if it is put back at the same position: a claim that began earlier must not find it, because it
        # would see the old arguments.
        if state is not State.PENDING or (yield from WITHDRAW(lane=locked.lane, seq=locked.seq, job=earlier)):
            break
    else:
        return False
    due = locked.run_at
    target = state
    if cast("Identity", new.unique).on_conflict == "reschedule":
        due = _due(new, locked.now)
        if state in (State.PENDING, State.SCHEDULED):
            target = State.SCHEDULED if due > locked.now else State.PENDING
    [(_, _, _, options, _)] = yield from IDENTITY_OF(job=earlier)
    _check_submitter(earlier, options, new, state)
    [(version,)] = yield from SUPERSEDE(
        job=earlier,
        waits=target is State.SCHEDULED,
        run_at=due,
        arguments=arguments,
        options=superseded(options, new.options),
        tags=new.tags,
    )
    yield from record(earlier, version, "superseded")
    if target is State.PENDING and state is State.PENDING:
        yield query("line_up_again", lane=locked.lane, seq=locked.seq, job=earlier)
        yield query("wake")
    elif target is State.PENDING:
        yield query("unpark", job=earlier)
        yield query("admit", job=earlier)
    elif state is State.PENDING:
        yield query("park", job=earlier, state=target.value, due_at=due, place=0 if new.run_at is None else None)
    elif target is State.SCHEDULED and due != locked.run_at:
        yield query("postpone", job=earlier, due_at=due)
    return True


def superseded(options: str | None, by: str | None) -> str | None:
    """Return the options of a superseded job: the new ones, except for its sequence, which is a position.

    Who submitted it stays as well, because they read it.
    """
    old, new = Options.decode(options), Options.decode(by)
    return msgspec.structs.replace(
        new, sequence=old.sequence, passes_dead=old.passes_dead, submitter=old.submitter
    ).encode()


def _check_submitter(earlier: str, options: str | None, new: NewJob, state: State) -> None:
    """Refuse to change the job of another submitter. Raises NotUnique."""
    submitter = Options.decode(new.options).submitter
    if submitter is not None and submitter != Options.decode(options).submitter:
        raise NotUnique(new.lane.kind, earlier, state.value)


def _due(new: NewJob, now: int) -> int:
    if new.run_at is not None:
        return new.run_at
    return now + (new.delay or 0)
