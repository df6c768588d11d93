"""Identities: the same kind with the same arguments is not started twice while one of the two is not over.

An identity is an entry among the keys. One whose job is over, or gone, is taken over by the next job.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from posthorse.errors import NotAllowed
from posthorse.rules.job import NewJob, Options, State
from posthorse.rules.unique import identity, scope
from posthorse.store.base import Steps, ask, ask_rows

Entry = tuple[str, str, str]
"""Tenant, scope and key."""


def take_identities(jobs: Sequence[NewJob]) -> Steps[dict[str, str]]:
    """Takes the identities of new jobs; answers with those that exist already: the new id and the earlier one."""
    unique = sorted((job for job in jobs if job.unique is not None), key=entry_of)  # one order: no deadlocks
    if not unique:
        return {}
    taken = yield ask_rows("take_keys", [(*entry_of(job), job.id, "") for job in unique])
    new = {cast("str", row[0]) for row in taken}
    late = [job for job in unique if job.id not in new]
    if not late:
        return {}
    owners = yield from _owners_of([entry_of(job) for job in late])
    alive = yield from _alive(set(owners.values()) - new)
    heirs: dict[Entry, str] = {}
    for job in late:
        owner = owners[entry_of(job)]
        if owner != job.id and owner not in new and owner not in alive:
            heirs.setdefault(entry_of(job), job.id)
    if heirs:
        yield ask_rows("hand_over_keys", [(*entry, heir) for entry, heir in heirs.items()])
    found = {job.id: heirs.get(entry_of(job), owners[entry_of(job)]) for job in late}
    return {new_id: owner for new_id, owner in found.items() if owner != new_id}


def claim_identity_again(job: str) -> Steps[None]:
    """A job that is over is to run again: it takes its identity back. Raises NotAllowed when another job has it."""
    rows = yield ask("identity_of", job=job)
    tenant, kind, arguments, options = cast("tuple[str | None, str, str, str | None]", rows[0])
    if not Options.decode(options).unique:
        return
    entry = (tenant or "", scope(kind), identity(arguments))
    taken = yield ask_rows("take_keys", [(*entry, job, "")])
    if taken:
        return
    owner = (yield from _owners_of([entry]))[entry]
    if owner == job:
        return
    if (yield from _alive({owner})):
        raise NotAllowed(
            f"job {job} is unique, and job {owner} of the same kind with the same arguments is not over yet; wait for "
            "that one, or cancel it first"
        )
    yield ask_rows("hand_over_keys", [(*entry, job)])


def entry_of(job: NewJob) -> Entry:
    """Where the identity of a job stands."""
    return job.tenant or "", scope(job.lane.kind), cast("str", job.unique)


def _owners_of(entries: Sequence[Entry]) -> Steps[dict[Entry, str]]:
    # Locked first and looked at after, in a statement that begins later: else the job that a neighbour enqueues at
    # this moment could not be seen, and would look like one that is gone.
    rows = yield ask_rows("lock_keys", sorted(set(entries)))
    return {cast("Entry", row[:3]): cast("str", row[3]) for row in rows}


def _alive(jobs: set[str]) -> Steps[set[str]]:
    if not jobs:
        return set()
    rows = yield ask_rows("states_of", [(job,) for job in sorted(jobs)])
    return {cast("str", job) for job, state in rows if not State(cast("str", state)).is_final}
