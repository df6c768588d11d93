"""Identities: which earlier job equals a new one, and what is done about it.

An identity is a key entry. If its job is over, deleted, or (if that is enough) started, the next job takes it over. A
lease shows that a job has started, so claims know nothing of identities; a job that is given back before it starts may
then wait beside its successor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from posthorse.errors import InvalidTransition, NotUnique
from posthorse.rules.job import NewJob, Options, State
from posthorse.rules.packing import Packing
from posthorse.rules.unique import Identity, UniqueRule, identity_again, scope
from posthorse.store.base import QuerySteps
from posthorse.store.operations.keys import LOCK_KEYS, KeyEntry, Owner, hand_over, take
from posthorse.store.operations.one_job import IDENTITY_OF, OWNER_STATE
from posthorse.store.operations.superseding import supersede, superseded


class Existing(NamedTuple):
    """New jobs that already exist, with the earlier ones; and how they changed other jobs of the same call."""

    earlier: Mapping[str, str] = {}
    instead: Mapping[str, NewJob] = {}


class OwnerState(NamedTuple):
    """The state of a job, as far as identities depend on it."""

    state: State
    is_started: bool


def take_identities(jobs: Sequence[NewJob], packing: Packing) -> QuerySteps[Existing]:
    """Take the identities of new jobs, and resolve conflicts as they say. Raises NotUnique, CodecError."""
    unique = {job.id: job for job in jobs if job.unique is not None}
    if not unique:
        return Existing()
    wanted = [_wanted(job, cast("Identity", job.unique)) for job in unique.values()]
    late, held = yield from take(wanted, look=LOCK_KEYS)
    if not late:
        return Existing()
    states = yield from _states_of({owner.job for owner in held.values()} - unique.keys())
    owners = {entry: owner.job for entry, owner in held.items()}
    heirs: list[KeyEntry] = []
    instead: dict[str, NewJob] = {}
    for one in late:
        job, there = unique[one.job], owners[one.entry]
        if there == job.id:  # the reply to an earlier commit was lost
            continue
        if there in unique:
            instead[there] = _merged(instead.get(there, unique[there]), job, packing)
        elif not (yield from _is_met(job, held[one.entry], states.get(there), packing)):
            heirs.append(one)
            owners[one.entry] = job.id
    yield from hand_over(heirs)
    return Existing({one.job: owners[one.entry] for one in late if owners[one.entry] != one.job}, instead)


def claim_identity_again(job: str, packing: Packing) -> QuerySteps[None]:
    """Take its identity back for a job that runs again.

    Raises InvalidTransition when another job has it, CodecError.
    """
    [(tenant, kind, arguments, options, is_started)] = yield from IDENTITY_OF(job=job)
    stored = Options.decode(options)
    kept = stored.unique
    if kept is None or (kept.rule == "queued" and is_started):
        return
    if kept.value is None:
        arguments = packing.of(job, stored.tenant).unpack(arguments, "arguments")
    identity = identity_again(kept, arguments)
    wanted = KeyEntry(tenant or "", scope(kind, identity.rule), identity.value, job)
    late, held = yield from take([wanted], look=LOCK_KEYS)
    if not late or held[wanted.entry].job == job:
        return
    owner = held[wanted.entry]
    states = yield from _states_of({owner.job})
    if _holds(identity.rule, owner, states.get(owner.job)):
        raise InvalidTransition(
            f"job {job} is unique, and job {owner.job} of the same kind with the same arguments is not over yet; wait "
            "for that one, or cancel it first"
        )
    yield from hand_over([wanted])


def _wanted(job: NewJob, identity: Identity) -> KeyEntry:
    return KeyEntry(job.tenant or "", scope(job.lane.kind, identity.rule), identity.value, job.id, span=identity.window)


def _is_met(job: NewJob, owner: Owner, state: OwnerState | None, packing: Packing) -> QuerySteps[bool]:
    """Return whether an earlier job equals the new one; if so, apply the new one's `on_conflict`."""
    identity = cast("Identity", job.unique)
    if not _holds(identity.rule, owner, state):
        return False
    if identity.on_conflict == "raise":
        raise NotUnique(job.lane.kind, owner.job, state.state.value if state is not None else None)
    if identity.on_conflict == "return":
        return True
    # A job that starts at this very moment makes room if only waiting jobs conflict: otherwise the new arguments would
    # be lost.
    return (yield from supersede(owner.job, job, packing.arguments_for(owner.job, job))) or identity.rule != "queued"


def _holds(rule: UniqueRule, owner: Owner, state: OwnerState | None) -> bool:
    """Return whether an identity is still held."""
    if rule == "window":
        return not owner.is_over
    if state is None or state.state.is_final:
        return False
    return rule == "finished" or not state.is_started


def _states_of(jobs: set[str]) -> QuerySteps[dict[str, OwnerState]]:
    """Return the states of jobs, without deleted ones."""
    if not jobs:
        return {}
    rows = yield from OWNER_STATE([(job,) for job in sorted(jobs)])
    return {job: OwnerState(State(state), bool(begun)) for job, state, begun in rows}


def _merged(first: NewJob, job: NewJob, packing: Packing) -> NewJob:
    """Return what the first of two equal jobs of one call becomes through the other."""
    on_conflict = cast("Identity", job.unique).on_conflict
    if on_conflict == "raise":
        raise NotUnique(job.lane.kind, None, None)
    if on_conflict == "return":
        return first
    options = superseded(first.options, job.options)
    arguments = packing.arguments_for(first.id, job)
    merged = msgspec.structs.replace(first, arguments=arguments, options=options, tags=job.tags)
    if on_conflict == "reschedule":
        merged = msgspec.structs.replace(merged, run_at=job.run_at, delay=job.delay)
    return merged
