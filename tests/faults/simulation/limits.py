"""The limits of the application after every step: no more jobs inside than allowed, and none overtaken.

It judges by what the store shows. Each check yields sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import msgspec

from posthorse.clock import SECOND
from tests.faults.simulation.actors import short
from tests.faults.simulation.snapshot import Job, Snapshot

MINUTE = 60 * 1_000 * SECOND  # in nanoseconds


class Rate(NamedTuple):
    """`burst` tokens can be saved up, and one comes every `step` nanoseconds."""

    step: int
    burst: int


def caps(after: Snapshot) -> Iterator[str]:
    """I13: there are no more leases than a limit allows."""
    inside: defaultdict[tuple[str, int], list[Job]] = defaultdict(list)
    for one in after.jobs.values():
        if one.lease is None:
            continue
        job = one.job
        if job.queue == "narrow":
            inside["queue narrow", 2].append(job)
        if job.kind == "bill":
            inside[f"customer {job.given['customer']}", 1].append(job)
        if (sequence := sequence_of(job)) is not None:
            inside[sequence, 1].append(job)
    for (limit, most), jobs in inside.items():
        if len(jobs) > most:
            yield f"I13: {len(jobs)} are inside {limit}: {', '.join(map(named, jobs))}"


def overtaken(job: Job, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """I18: of the jobs held before a limit of their own, none is overtaken there by a later one.

    Jobs that are also in a sequence have their place from there, and are left out.
    """
    if job.options.sequence is not None:
        return
    for one in after.jobs.values():
        held, earlier = one.parked, before.jobs.get(one.job.id)
        if held is None or held.gate is None or held.place is None or earlier is None or earlier.parked != held:
            continue
        limit, *of_what = msgspec.json.decode(held.gate)
        if limit == "sequence" or of_what != _kept_apart(job):
            continue
        if (-job.priority, job.seq) > (-one.job.priority, one.job.seq) and one.job.options.sequence is None:
            yield f"I18: {named(job)} began while {named(one.job)} is held before {held.gate}, which was there first"


def sequence_of(job: Job) -> str | None:
    """Return the sequence in which a job has a place."""
    if job.kind in ("book", "note"):
        return f"{job.kind} {job.given['account']}"
    return job.options.sequence


def rates_of(job: Job) -> Iterator[tuple[str, Rate]]:
    """Yield the rates that apply to a job."""
    if job.kind == "call":
        yield "calls", Rate(ceil(MINUTE / 6), 2)
    if job.kind == "fetch":
        yield f"host {job.given['host']}", Rate(ceil(MINUTE / 2), 1)


def named(job: Job) -> str:
    """Return a job in words for people."""
    return f"job {short(job.id)} ({job.kind}{job.arguments})"


def _kept_apart(job: Job) -> list[object]:
    """Return the partition keys of a kind's limits, as in the names of their gates."""
    per = {"bill": "customer", "fetch": "host"}.get(job.kind)
    return [] if per is None else ["kind", job.kind, per, job.given[per]]
