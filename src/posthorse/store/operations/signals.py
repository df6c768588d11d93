"""Signals: events that jobs wait for. Each is a fact that stays for a while; jobs that wait for it listen.

A job begins to listen in the commit that ends its attempt, and then looks once more; a sender writes the signal, and
then looks for listeners. Both hold the topic until their commit, so one of the two sees the other. The listener never
waits for a sender, whose transaction may be a long one of the user's: if it cannot get the topic, its job runs again a
moment later, and looks anew.
"""

from __future__ import annotations

from typing import NamedTuple

from posthorse.rules.topics import Topic
from posthorse.store.base import (
    QuerySteps,
    TypedQuery,
    creating_no_work,
    locking_first,
    operation,
    query,
    single_operation,
)
from posthorse.store.operations.one_job import missing
from posthorse.store.operations.store_facts import now

LOOK_AGAIN_AFTER = 1_000_000
"""Microseconds after which a job runs again whose topic a sender held."""


class Heard(NamedTuple):
    """What is there of an event: its payload, packed; None if it was not sent. `now` is the store's clock."""

    payload: str | None
    now: int


TENANT_OF = TypedQuery("tenant_of", tuple[str | None])
TRY_TOPIC = TypedQuery("try_topic", tuple[int])
SIGNAL = TypedQuery("signal", tuple[str])
PUT_SIGNAL = TypedQuery("put_signal", tuple[str])
FORGET_SIGNALS = TypedQuery("forget_signals", tuple[str])


@single_operation
def tenant_of(job: str) -> QuerySteps[tuple[str | None] | None]:
    """Return the tenant of a job; None if there is no such job."""
    for (tenant,) in (yield from TENANT_OF(job=job)):
        return (tenant,)
    return None


@operation
def heard(topic: Topic) -> QuerySteps[Heard]:
    """Return what was sent to a topic."""
    rows = yield from SIGNAL(tenant=topic.tenant, topic=topic.name)
    return Heard(rows[0][0] if rows else None, (yield from now()))


@locking_first
@operation
def send(topic: Topic, payload: str, *, span: int, again: bool, job: str | None) -> QuerySteps[bool]:
    """Write a signal, and let the jobs that wait for it go on; return False if an earlier one counts.

    span: how long it stays, in microseconds. again: whether it replaces an earlier one. job: who it is for, if that is
    one job alone. Raises JobNotFound.
    """
    if job is not None and not (yield from TENANT_OF(job=job)):
        raise (yield from missing(job))
    yield query("hold_topic", tenant=topic.tenant, topic=topic.name)
    written = yield from PUT_SIGNAL(tenant=topic.tenant, topic=topic.name, payload=payload, span=span, again=again)
    yield query("wake_listeners", tenant=topic.tenant, topic=topic.name)
    return bool(written)


def listen(job: str, epoch: int, topic: Topic, until: int | None) -> QuerySteps[None]:
    """Let a job that its settlement blocked wait for a signal, as a part of that; `until` is when it goes on anyway."""
    [(is_held,)] = yield from TRY_TOPIC(tenant=topic.tenant, topic=topic.name)
    if not is_held:
        until = (yield from now()) + LOOK_AGAIN_AFTER
    else:
        yield query("listen", tenant=topic.tenant, topic=topic.name, job=job, epoch=epoch)
        if (yield from SIGNAL(tenant=topic.tenant, topic=topic.name)):
            until = yield from now()
    if until is not None:
        yield query("wait_until", job=job, due_at=until)


@creating_no_work
@operation
def forget_expired_signals(limit: int) -> QuerySteps[int]:
    """Delete expired signals; return how many."""
    return len((yield from FORGET_SIGNALS(limit=limit)))


@single_operation
def wake_missed() -> QuerySteps[None]:
    """Let jobs go on that wait for a signal that is there.

    A sender misses them whose transaction is older than their wait and sees nothing newer, as REPEATABLE READ does.
    """
    yield query("wake_missed")
