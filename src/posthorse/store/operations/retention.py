"""Retention: what is declared of it, which jobs are old, and their removal with all that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse import ids
from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.packing import GONE
from posthorse.rules.queues import layer_from_words
from posthorse.rules.retention import Declaration, Keep, Live, Retention, declare
from posthorse.store.base import (
    QuerySteps,
    TypedQuery,
    creating_no_work,
    operation,
    query,
    query_rows,
    single_operation,
)
from posthorse.store.operations.one_job import FORGOTTEN_UNTIL, HELD_LEASE, LOCK_JOB, missing
from posthorse.store.operations.read import PULSE
from posthorse.store.operations.store_facts import now

FIRST = ids.first_of(0)
"""Sorts before every id."""

_decode_words = msgspec.json.Decoder(dict[str, object]).decode
_decode_declaration = msgspec.json.Decoder(Declaration).decode

DeclaredFor = tuple[str, str]
"""Of whom something is declared: `application`, `kind` or `queue`, and the name."""


class OldJob(NamedTuple):
    """A job as retention looks at it; `finished_at` is None if it is not over."""

    id: str
    queue: str
    kind: str
    state: str
    finished_at: int | None
    has_result: int
    has_logs: int


class JobsByAge(NamedTuple):
    """The next jobs by age, and what is declared; `now` is on the store's clock, in microseconds."""

    now: int
    retention: Retention
    jobs: Sequence[OldJob]


class Changed(NamedTuple):
    """What a declaration changes; `oldest` is the age of the oldest job, in microseconds."""

    declarations: Mapping[DeclaredFor, Declaration]
    oldest: int


class Going(NamedTuple):
    """A job that leaves, and when it ended: if it was retried meanwhile, it stays."""

    job: str
    finished_at: int


class IdentityEntry(NamedTuple):
    """The entry of an identity, and the job that has it."""

    tenant: str
    scope: str
    key: str
    job: str


KEEPS = TypedQuery("keeps", tuple[str, str, str])
CHANGED_QUEUES = TypedQuery("changed_queues", tuple[str, str, int])
OLDEST_JOB = TypedQuery("oldest_job", tuple[str])
OLD_JOBS = TypedQuery("old_jobs", OldJob)
FORGET_JOBS = TypedQuery("forget_jobs", tuple[int])
PARENT_OF = TypedQuery("parent_of", tuple[str])
IDENTITIES = TypedQuery("identities", tuple[str, str, str, str, int])


@operation
def changes_of_retention(said: Mapping[DeclaredFor, Keep]) -> QuerySteps[Changed]:
    """Return what must be stored of what code declares for its application, kinds and queues."""
    moment = yield from now()
    stored = yield from _declarations()
    wanted = {scope: declare(stored.get(scope), keep, moment) for scope, keep in said.items()}
    oldest = yield from OLDEST_JOB()
    return Changed(
        {scope: one for scope, one in wanted.items() if stored.get(scope) != one},
        moment - 1000 * ids.milliseconds_of(oldest[0][0]) if oldest else 0,
    )


@creating_no_work
@single_operation
def declare_retention(declarations: Mapping[DeclaredFor, Declaration]) -> QuerySteps[None]:
    """Store declarations. If two processes declare at the same moment, the last one counts."""
    rows = [(*scope, msgspec.json.encode(one).decode()) for scope, one in sorted(declarations.items())]
    yield query_rows("declare_keeps", rows)


@operation
def old_jobs(*, after: str, limit: int, older_than: int = 0) -> QuerySteps[JobsByAge]:
    """Return the next jobs that retention could concern, by id; those that are younger than `older_than` are left out.

    The page is shorter than `limit` only at the end.
    """
    moment = yield from now()
    retention = yield from _retention()
    span = max(retention.shortest(moment), older_than)
    if span > moment:  # also for ever
        return JobsByAge(moment, retention, [])
    before = ids.first_of(moment - int(span))
    return JobsByAge(moment, retention, (yield from OLD_JOBS(after=after, before=before, gone=GONE, limit=limit)))


@creating_no_work
@operation
def forget_jobs(
    first: str, last: str, going: Sequence[Going], emptied: Sequence[Going], silenced: Sequence[Going] = ()
) -> QuerySteps[int]:
    """Remove jobs between two ids with all that belongs to them, and results and logs of others; return how many left.

    Jobs that were retried meanwhile stay. What belongs to a job that no longer exists goes, too.
    """
    if emptied:
        yield query_rows("drop_results", emptied, gone=GONE)
    if silenced:
        yield query_rows("drop_logs", silenced)
    if not going:
        return 0
    left = yield from FORGET_JOBS(going)
    yield query("forget_belongings", first=first, last=last)
    return len(left)


@creating_no_work
@single_operation
def note_forgotten(job: str) -> QuerySteps[None]:
    """Note that retention is about to remove a job, and perhaps others that are older.

    This is a commit of its own, because a process that is stopped in the middle of a transaction must not keep others
    waiting for this row.
    """
    yield query("note_forgotten", name=FORGOTTEN_UNTIL, id=job)


@operation
def identities(after: IdentityEntry | None, limit: int) -> QuerySteps[list[tuple[IdentityEntry, bool]]]:
    """Return the next identities, in order, and whether their job no longer exists."""
    tenant, scope, key, _ = after or ("", "", "", "")
    found = yield from IDENTITIES(tenant=tenant, scope=scope, key=key, limit=limit)
    return [(IdentityEntry(*entry), bool(is_orphaned)) for *entry, is_orphaned in found]


@creating_no_work
@operation
def forget_identities(orphaned: Sequence[IdentityEntry]) -> QuerySteps[None]:
    """Remove identities, unless a new job took them meanwhile."""
    yield query_rows("forget_identities", orphaned)


@operation
def erase(job: str, *, version: int | None = None) -> QuerySteps[bool]:
    """Remove one job that is over, with its keys and all that belongs to it.

    version: remove it only in this version, and return False in another. Raises JobNotFound, InvalidTransition.
    """
    locked = yield from LOCK_JOB(job=job)
    if not locked:
        raise (yield from missing(job))
    if version is not None and [pulse.version for pulse in (yield from PULSE(job=job))] != [version]:
        return False
    state = State.PROCESSING if (yield from HELD_LEASE(job=job)) else State(locked[0].state)
    if not state.is_final:
        raise InvalidTransition(f"job {job} is {state.value}, so it cannot be deleted; cancel it first")
    for (parent,) in (yield from PARENT_OF(job=job)):
        raise InvalidTransition(
            f"job {job} is a part of job {parent}, so it cannot be deleted alone; delete that first"
        )
    yield query("erase_job", job=job)
    yield query("forget_belongings", first=job, last=job)
    yield query("forget_keys_of", job=job)
    return True


def _retention() -> QuerySteps[Retention]:
    by_scope: dict[str, dict[str, Declaration]] = {"application": {}, "kind": {}, "queue": {}}
    for (scope, name), declaration in (yield from _declarations()).items():
        by_scope[scope][name] = declaration
    live: dict[str, Live] = {}
    for queue, words, changed_at in (yield from CHANGED_QUEUES()):
        keep = layer_from_words(_decode_words(words)).get("keep")
        if isinstance(keep, Keep):
            live[queue] = Live(keep, changed_at)
    return Retention(by_scope["application"].get(""), by_scope["kind"], by_scope["queue"], live)


def _declarations() -> QuerySteps[dict[DeclaredFor, Declaration]]:
    return {(scope, name): _decode_declaration(words) for scope, name, words in (yield from KEEPS())}
