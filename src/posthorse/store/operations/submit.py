"""Submitting: jobs enter the store, with their keys, in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

from posthorse import ids
from posthorse.errors import KeyConflict, UsageError
from posthorse.rules.depth import Gauge
from posthorse.rules.job import Lane, NewJob
from posthorse.store.base import Operation, Steps, ask, ask_rows, operation
from posthorse.store.operations.queues import check_room
from posthorse.store.operations.unique import take_identities

_NO_GAUGES: Mapping[str, Gauge] = {}


class Submitted(NamedTuple):
    """Where a submitted job is to be found; `created` is false when a key or an identity matched an earlier one."""

    id: str
    created: bool


@operation
def lane_ids(lanes: Sequence[Lane]) -> Steps[dict[Lane, int]]:
    """The numbers of lanes, made where they are missing. A commit of its own: a lane is never taken back."""
    numbers: dict[Lane, int] = {}
    for lane in lanes:
        numbers[lane] = yield from lane_id(lane)
    return numbers


def lane_id(lane: Lane) -> Steps[int]:
    """The number of one lane, as a part of other operations."""
    found = yield ask("find_lane", queue=lane.queue, kind=lane.kind, priority=lane.priority, solo=lane.solo)
    if not found:
        found = yield ask("make_lane", queue=lane.queue, kind=lane.kind, priority=lane.priority, solo=lane.solo)
    return cast("int", found[0][0])


def enqueue(
    jobs: Sequence[NewJob], lanes: Mapping[Lane, int], *, channel: str, gauges: Mapping[str, Gauge] = _NO_GAUGES
) -> Operation[list[Submitted]]:
    """Writes jobs, all or none, and answers in their order. `gauges` are those of queues whose depth is limited.

    Raises KeyConflict when a key was used before with other arguments, QueueFull when a queue has no room, UsageError
    when this machine's clock is more than a day from the store's.
    """
    has_keys = any(job.key is not None or job.unique is not None for job in jobs)
    start = partial(_enqueue, jobs, lanes, channel, has_keys, gauges)
    return Operation(start, is_single=not has_keys and not gauges)


def _enqueue(
    jobs: Sequence[NewJob], lanes: Mapping[Lane, int], channel: str, has_keys: bool, gauges: Mapping[str, Gauge]
) -> Steps[list[Submitted]]:
    if gauges:
        yield from check_room((yield from _without_known(jobs)), gauges, channel=channel)
    answers = [Submitted(job.id, created=True) for job in jobs]
    if has_keys:
        earlier = yield from _take_keys(jobs)
        earlier |= yield from take_identities([job for job in jobs if job.id not in earlier])
        answers = [
            Submitted(owner, created=owner == job.id) for job in jobs for owner in (earlier.get(job.id, job.id),)
        ]
        jobs = [job for job in jobs if job.id not in earlier]
    if jobs:
        made_at = ids.milliseconds_of(jobs[0].id)
        answered = yield ask_rows(
            "enqueue",
            [
                (
                    job.id,
                    lanes[job.lane],
                    job.arguments,
                    job.run_at,
                    job.delay,
                    job.options,
                    job.tenant,
                    job.tags,
                    job.parent,
                )
                for job in jobs
            ],
            channel=channel,
            made_at=made_at,
            tolerance=ids.CLOCK_TOLERANCE,
        )
        _check_clock(made_at, cast("int", answered[0][0]))
    return answers


def _without_known(jobs: Sequence[NewJob]) -> Steps[Sequence[NewJob]]:
    """The jobs but for those whose keys are taken: these stand in the store already, and need no room."""
    keyed = [job for job in jobs if job.key is not None]
    if not keyed:
        return jobs
    found = yield ask_rows("find_keys", sorted({_key(job) for job in keyed}))
    known = {row[:3] for row in found}
    return [job for job in jobs if job.key is None or _key(job) not in known]


def _take_keys(jobs: Sequence[NewJob]) -> Steps[dict[str, str]]:
    """Which of the jobs exist already, by their keys: the new id and the earlier one."""
    keyed = sorted((job for job in jobs if job.key is not None), key=_key)  # one order: no deadlocks
    if not keyed:
        return {}
    taken = yield ask_rows("take_keys", [(*_key(job), job.id, job.fingerprint) for job in keyed])
    ours = {row[0] for row in taken}
    late = [job for job in keyed if job.id not in ours]
    if not late:
        return {}
    found = yield ask_rows("find_keys", [_key(job) for job in late])
    owners = {row[:3]: cast("tuple[str, str]", row[3:]) for row in found}
    earlier: dict[str, str] = {}
    for job in late:
        owner, fingerprint = owners[_key(job)]
        if fingerprint != job.fingerprint:
            raise KeyConflict(
                f"key {job.key!r} was used before for other arguments of {job.lane.kind!r} (job {owner}); "
                "use another key, or enqueue with the same arguments"
            )
        if owner != job.id:  # our own key: the reply to an earlier commit was lost
            earlier[job.id] = owner
    return earlier


def _key(job: NewJob) -> tuple[str, str, str]:
    return job.tenant or "", job.lane.kind, cast("str", job.key)


def _check_clock(made_at: int, now: int) -> None:
    away = made_at - now // 1000
    if abs(away) * 1000 >= ids.CLOCK_TOLERANCE:
        raise UsageError(
            f"this machine's clock is {abs(away) / 3_600_000:.0f} hours {'ahead of' if away > 0 else 'behind'} the "
            "store's, so its job ids cannot be used and nothing was enqueued; set the clock and enqueue again"
        )
