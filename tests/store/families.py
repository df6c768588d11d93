"""Families in few words: jobs with needs, parents and children, for the tests of joins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import msgspec

from posthorse.rules.job import NewJob, State
from posthorse.rules.joins import Edge, Join, Need
from posthorse.store.base import Operation
from posthorse.store.operations.awaited import noted_in
from posthorse.store.operations.families import NewFamily, submit_family
from posthorse.store.operations.releasing import release
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.store.operations.waiting import JOIN_OF
from tests.store.yard import Yard

Needing = Mapping[str, Need]
OF_JOBS = ("ready", "leases", "parked", "controls", "edges", "joins", "ends", "events", "jobs")
FINAL = {state.value for state in State if state.is_final}


def submit(
    yard: Yard, jobs: Sequence[NewJob], edges: Sequence[Edge] = (), parents: Collection[str] = ()
) -> list[SubmitResult]:
    lanes = yard.store.lanes({job.lane for job in jobs})
    return yard.store.run(submit_family(NewFamily(jobs, edges, frozenset(parents)), EntryTerms(lanes)))


def dependent(yard: Yard, needs: Needing, *, parent: str | None = None, delay: int | None = None) -> str:
    """Enqueue a job that needs others."""
    [job] = yard.new(delay=delay)
    job = msgspec.structs.replace(job, parent=parent)
    submit(yard, [job], [Edge(needed, job.id, how) for needed, how in needs.items()])
    return job.id


def family(yard: Yard, count: int, edges: Mapping[tuple[int, int], Need] | None = None) -> tuple[str, list[str]]:
    """Enqueue a parent without code, and children with edges among them, by their numbers; return their ids."""
    parent, *children = yard.new(count + 1)
    children = [msgspec.structs.replace(child, parent=parent.id) for child in children]
    ids = [child.id for child in children]
    told = [Edge(ids[one], ids[other], needs) for (one, other), needs in (edges or {}).items()]
    submit(yard, [parent, *children], told, [parent.id])
    return parent.id, ids


def release_all(yard: Yard) -> int:
    """Count all noted ends; return how many transactions that took."""
    times = 0
    while yard.store.run(release()):
        times += 1
    return times


def join_of(yard: Yard, job: str) -> Join | None:
    rows = yard.store.read(Operation(lambda: JOIN_OF(job=job)))
    return rows[0] if rows else None


def edges_of(yard: Yard, dependent: str) -> list[tuple[str, str, bool]]:
    """Return what a job needs, and whether each need is met."""
    table = yard.store.backend.dialect.table("edges")
    with yard.store.transaction() as connection:
        rows = (
            cast("Any", connection)
            .execute(f"SELECT job, needs, met FROM {table} WHERE CAST(dependent AS text) = '{dependent}'")
            .fetchall()
        )
    return [(str(job), needs, bool(met)) for job, needs, met in rows]


def empty(yard: Yard) -> None:
    """Remove all jobs, and what belongs to them, without a trace: each random world begins with nothing."""
    with yard.store.transaction() as connection:
        for name in OF_JOBS:
            cast("Any", connection).execute(f"DELETE FROM {yard.store.backend.dialect.table(name)}")


def stored_states(yard: Yard) -> dict[str, State]:
    """Return the stored states of all jobs, in one query."""
    with yard.store.transaction() as connection:
        execute = cast("Any", connection).execute
        rows = execute(f"SELECT id, state FROM {yard.store.backend.dialect.table('jobs')}").fetchall()
    return {str(job): State(state) for job, state in rows}


def check_joins(yard: Yard) -> None:
    """Check that every join counts what there is, and that nothing waits that could go on."""
    table = yard.store.backend.dialect.table
    with yard.store.transaction() as connection:
        execute = cast("Any", connection).execute
        states = {
            str(job): (state, parent and str(parent))
            for job, state, parent in execute(f"SELECT id, state, parent FROM {table('jobs')}").fetchall()
        }
        edges = [
            (str(job), str(dependent), needs, bool(met))
            for job, dependent, needs, met in execute(
                f"SELECT job, dependent, needs, met FROM {table('edges')}"
            ).fetchall()
        ]
        joins = {
            str(row[0]): row[1:]
            for row in execute(
                f"SELECT job, missing, open, failed, total, skipped, asked, walked FROM {table('joins')}"
            ).fetchall()
        }
        noted = [end for (text,) in execute(f"SELECT jobs FROM {table('ends')}").fetchall() for end in noted_in(text)]
        aside = {
            str(job)
            for (job,) in execute(
                f"SELECT job FROM {table('parked')} WHERE state = 'blocked' AND gate IS NULL AND due_at IS NULL"
            ).fetchall()
        }
    # A child is held back while its family is paused, and until what was requested of the family has reached it.
    holding = {job for job, (*_, asked, walked) in joins.items() if asked == "pause" or walked is not None}
    unmet = Counter(who for _, who, _, met in edges if not met)
    uncounted = [end for end in noted if not end.is_counted]
    for job, (missing, open_, failed, total, skipped, asked, _) in joins.items():
        children = [child for child, (_, parent) in states.items() if parent == job]
        alive = sum(states[child][0] not in FINAL for child in children)
        mine = [end for end in uncounted if end.job in children]
        dead = sum(states[child][0] == "failed" for child in children)
        assert open_ == alive + len(mine), f"{job} counts {open_} open children of {alive} and {len(mine)} noted"
        assert total == len(children)
        if not mine:
            assert failed == dead, f"{job} counts {failed} dead letters of {dead}"
        assert missing == unmet[job]
        if not noted and asked is None and job in aside and states[job][1] not in holding:
            assert missing or open_, f"{job} waits for nothing"
        assert not skipped or states[job][0] == "cancelled"
    if not noted:
        for job, who, needs, met in edges:
            if states[job][0] in FINAL and needs in ("over", states[job][0]):
                assert met, f"{who} does not know that {job} is {states[job][0]}"
