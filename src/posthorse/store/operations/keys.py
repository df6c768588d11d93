"""Key entries: idempotency keys and identities, which new jobs take, look up, hand over and forget.

An expired entry may be taken by any job, and is deleted some time later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from posthorse.errors import KeyConflict, StoreError
from posthorse.rules.job import NewJob
from posthorse.rules.keys import stored_key
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query_rows

Entry = tuple[str, str, str]
"""Tenant, scope and key."""

_MAX_LOOKS = 20


class KeyEntry(NamedTuple):
    """An entry that a new job takes; `span` is how long it counts, in microseconds."""

    tenant: str
    scope: str
    key: str
    job: str
    fingerprint: str = ""
    span: int | None = None

    @property
    def entry(self) -> Entry:
        """The primary key of the entry."""
        return self[:3]


class Owner(NamedTuple):
    """The owner of an entry."""

    job: str
    fingerprint: str
    is_over: bool
    """Whether the entry has expired."""


TAKE_KEYS = TypedQuery("take_keys", tuple[str])
FIND_KEYS = TypedQuery("find_keys", tuple[str, str, str, str, str, int])
LOCK_KEYS = TypedQuery("lock_keys", tuple[str, str, str, str, str, int])
FORGET_KEYS = TypedQuery("forget_keys", tuple[int])


def take(
    wanted: Sequence[KeyEntry], *, look: TypedQuery[tuple[str, str, str, str, str, int]]
) -> QuerySteps[tuple[list[KeyEntry], dict[Entry, Owner]]]:
    """Take the entries that are free; return those that were already taken, and the owners.

    With LOCK_KEYS no other process can hand these over until the end of the transaction.
    """
    # Lock first and read afterwards, in a later statement: otherwise what another process enqueues at this moment would
    # be invisible, and would look as if it had been deleted.
    late: list[KeyEntry] = []
    held: dict[Entry, Owner] = {}
    left = sorted(wanted, key=lambda one: one.entry)  # one order prevents deadlock
    for _ in range(_MAX_LOOKS):
        ours = {job for (job,) in (yield from TAKE_KEYS(left))}
        missed = [one for one in left if one.job not in ours]
        if not missed:
            return late, held
        rows = yield from look(sorted({one.entry for one in missed}))
        for tenant, scope, key, job, fingerprint, is_over in rows:
            held[tenant, scope, key] = Owner(job, fingerprint, bool(is_over))
        late += [one for one in missed if one.entry in held]
        left = [one for one in missed if one.entry not in held]  # forgotten between the two queries
        if not left:
            return late, held
    raise StoreError(f"the key {left[0].key!r} is neither free nor anybody's; run `posthorse doctor`")


def hand_over(heirs: Sequence[KeyEntry]) -> QuerySteps[None]:
    """Assign locked entries to other jobs."""
    if heirs:
        yield query_rows("hand_over_keys", heirs)


def take_keys(jobs: Sequence[NewJob]) -> QuerySteps[dict[str, str]]:
    """Return which of the jobs already exist, by their keys: the new id and the earlier one. Raises KeyConflict."""
    keyed = {job.id: job for job in jobs if job.key is not None}
    if not keyed:
        return {}
    late, held = yield from take([wanted_key(job) for job in keyed.values()], look=FIND_KEYS)
    outlived = [one for one in late if held[one.entry].is_over and held[one.entry].job != one.job]
    if outlived:
        held |= yield from _succeed(outlived)
    earlier: dict[str, str] = {}
    for one in late:
        owner = held[one.entry]
        if owner.fingerprint != one.fingerprint:
            raise _conflict(keyed[one.job], owner.job)
        if owner.job != one.job:  # our own key: the reply to an earlier commit was lost
            earlier[one.job] = owner.job
    return earlier


def wanted_key(job: NewJob) -> KeyEntry:
    """Return the entry of a job with a key."""
    scope, key = stored_key(job.lane.kind if job.key_scope is None else job.key_scope, cast("str", job.key))
    return KeyEntry(job.tenant or "", scope, key, job.id, cast("str", job.fingerprint), job.key_span)


@creating_no_work
@operation
def forget_expired_keys(limit: int) -> QuerySteps[int]:
    """Delete expired entries; return how many."""
    return len((yield from FORGET_KEYS(limit=limit)))


def _succeed(outlived: Sequence[KeyEntry]) -> QuerySteps[dict[Entry, Owner]]:
    """Take expired keys, unless another process was faster; return their owners."""
    late, held = yield from take(outlived, look=LOCK_KEYS)
    heirs = {one.entry: one for one in reversed(late) if held[one.entry].is_over}
    yield from hand_over(list(heirs.values()))
    taken = {one.entry: one for one in reversed(outlived) if one.entry not in held} | heirs
    return held | {entry: Owner(one.job, one.fingerprint, False) for entry, one in taken.items()}


def _conflict(job: NewJob, owner: str) -> KeyConflict:
    whose = f"other arguments of {job.lane.kind!r}"
    if job.key_scope is not None:
        whose = f"another kind than {job.lane.kind!r}, or other arguments"
    return KeyConflict(
        f"key {job.key!r} was used before for {whose} (job {owner}); "
        "use another key, or enqueue with the same arguments"
    )
