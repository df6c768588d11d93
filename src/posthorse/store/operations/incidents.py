"""Incidents: what goes wrong and leaves no other trace is noted in the commit in which it happens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.clock import SECOND
from posthorse.rules.incidents import Incident, Miss, Sort, subject_of_loss, subject_of_miss
from posthorse.rules.store_events import Loss
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.telling import tell_of_store

KEPT = 7 * 86_400 * SECOND
"""Microseconds for which incidents are kept: an observer whose code runs nowhere for longer misses some."""

REPORTS_KEPT = 40 * 86_400 * SECOND
"""The same for reports of what is over: longer than the longest time in which dead letters are counted."""

UNTOLD_AT_ONCE = 100

UNTOLD_INCIDENTS = TypedQuery("untold_incidents", Incident)
LEASES_HELD = TypedQuery("leases_held", tuple[int])


def untold(observer: str, sort: Sort) -> QuerySteps[Sequence[Incident]]:
    """Return incidents of which an observer was not notified; a part of other operations."""
    return (yield from UNTOLD_INCIDENTS(name=observer, incident=sort, limit=UNTOLD_AT_ONCE))


def note_losses(lost: Sequence[tuple[str, str, str, int]]) -> QuerySteps[None]:
    """Note the runners (id, worker, host, when they were heard last) that were removed, and tell the stream; a part of
    removing them.
    """
    by_worker: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for runner, worker, host, beat_at in lost:
        by_worker.setdefault((worker, host), []).append((runner, beat_at))
    for (worker, host), found in by_worker.items():
        runners = [runner for runner, _ in found]
        jobs = 0
        for runner in runners:
            [(held,)] = yield from LEASES_HELD(runner=runner)
            jobs += held
        last_seen = max(beat_at for _, beat_at in found)
        loss = Loss(worker=worker, host=host, runners=runners, jobs=jobs, last_seen=last_seen)
        yield from _note("worker_lost", subject_of_loss(runners), loss)
        yield from tell_of_store("worker_lost", loss)


def note_miss(schedule: str, since: int, until: int, jobs: int) -> QuerySteps[None]:
    """Note that times of a schedule were missed, and how many jobs make up for them; a part of dealing with them."""
    miss = Miss(schedule=schedule, since=since, until=until, jobs=jobs)
    yield from _note("schedule_missed", subject_of_miss(schedule, since), miss)


@creating_no_work
@operation
def forget_incidents() -> QuerySteps[None]:
    """Forget old incidents, and then reports that nothing needs."""
    moment = yield from now()
    yield query("forget_incidents", before=moment - KEPT)
    yield query("forget_reports", before=moment - REPORTS_KEPT)


def _note(sort: Sort, subject: str, detail: Loss | Miss) -> QuerySteps[None]:
    yield query("note_incident", subject=subject, name=sort, detail=msgspec.json.encode(detail).decode())
