"""Releasing: ends that were noted are counted, and jobs go on that have nothing left to wait for.

This is a transaction of its own, right after the commit that noted the ends, or later by the sweep. It holds nothing
when it begins. Each note is counted by one process; a job that thousands need is done in several transactions.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.rules.job import State
from posthorse.store.base import QuerySteps, TypedQuery, locking_first, operation, query_rows
from posthorse.store.operations.awaited import NotedEnd, note, noted_in
from posthorse.store.operations.waiting import NOTHING, come_back, count, move_on, open_again, parents_of, skip
from posthorse.store.operations.width import make_room

NOTES_AT_ONCE = 10
EDGES_AT_ONCE = 1_000
SKIPPED_AT_ONCE = 200

TAKE_ENDS = TypedQuery("take_ends", tuple[str, str])
MEET_EDGES = TypedQuery("meet_edges", tuple[str, str])
BARRED_BY = TypedQuery("barred_by", tuple[str, str, str])


@locking_first
@operation
def release() -> QuerySteps[bool]:
    """Count some noted ends, and let jobs go on that waited for them; False if there were none."""
    taken = yield from TAKE_ENDS(limit=NOTES_AT_ONCE)
    if not taken:
        return False
    noted = [end for _, text in taken for end in noted_in(text)]
    met = [dependent for dependent, _ in (yield from MEET_EDGES(_job_states(noted), limit=EDGES_AT_ONCE))]
    barred = yield from BARRED_BY(sorted({(end.job,) for end in noted}), limit=SKIPPED_AT_ONCE)
    yield from _count(noted, met, barred)
    yield query_rows("forget_ends", [(id,) for id, _ in taken])
    if len(met) == EDGES_AT_ONCE or len(barred) == SKIPPED_AT_ONCE:
        yield from note([end._replace(is_counted=True) for end in noted])
    return True


def _count(noted: Sequence[NotedEnd], met: Sequence[str], barred: Sequence[tuple[str, str, str]]) -> QuerySteps[None]:
    """Count ends for parents and edges for dependents, then decide about all who are concerned."""
    ended = [end for end in noted if not end.is_counted]
    dependents = {*met, *(job for job, *_ in barred)}
    parents = yield from parents_of({end.job for end in ended} | dependents)
    # The families of dependents are locked, too: one that comes back opens its parent again.
    changes = dict.fromkeys((*dependents, *(parents[job] for job in dependents if job in parents)), NOTHING)
    for job in met:
        changes[job] = changes[job].and_more(met=1)
    for end in ended:
        if (parent := parents.get(end.job)) is not None:
            before = changes.get(parent, NOTHING)
            changes[parent] = before.and_more(ended=1, failed=end.state == State.FAILED.value)
    joins = yield from count(changes)
    skipped = set[str]()
    for job, needed, state in barred:
        if job not in skipped:
            skipped.add(job)
            yield from skip(job, needed, State(state))
    cancelled = {job for job, join in joins.items() if join.asked == "cancel"}
    returning = [job for job in sorted(joins) if joins[job].comes_back and parents.get(job) not in cancelled]
    for job in returning:
        if (yield from come_back(job)) and job in parents:
            yield from open_again(parents[job])
    if returning:  # whether nothing is left is asked after all that was added, and no sooner
        joins = yield from count(dict.fromkeys(joins, NOTHING))
    asked = {job: join.asked for job, join in joins.items() if join.asked is not None}
    yield from move_on([*joins.values()], parents, asked)
    for join in joins.values():
        if join.width is not None and join.open:
            yield from make_room(join)


def _job_states(noted: Sequence[NotedEnd]) -> list[tuple[str, str]]:
    return sorted({(end.job, end.state) for end in noted})
