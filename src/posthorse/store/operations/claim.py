"""Claiming: the heads of lanes become leases of one living runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from posthorse.rules.job import Lane
from posthorse.store.base import Steps, ask, ask_rows, operation, single_operation, unrepeatable_operation
from posthorse.store.operations.finish import Disturbed
from posthorse.store.operations.moves import Request, do_as_asked
from posthorse.store.queries import Row


class Claimed(NamedTuple):
    """One job that a runner now holds. Its epoch is the fence of all that the runner writes about it."""

    job: str
    epoch: int
    lane: int
    seq: int
    errors: int
    crashes: int
    losses: int
    arguments: str
    options: str | None
    run_at: int | None


class Probe(NamedTuple):
    """A lane that may be served, from behind a place that is known to be consumed."""

    lane: int
    after: int
    priority: int


@single_operation
def lanes_after(known: int) -> Steps[list[tuple[int, Lane]]]:
    """Lanes with numbers above `known`."""
    rows = yield ask("lanes_after", known=known)
    return [
        (cast("int", number), Lane(cast("str", queue), cast("str", kind), cast("int", priority), bool(solo)))
        for number, queue, kind, priority, solo in rows
    ]


@single_operation
def shares(probes: Sequence[Probe], room: int) -> Steps[dict[int, int]]:
    """How many of the next `room` jobs lie in each lane. Takes no locks: a hint for `claim`."""
    rows = yield ask_rows("shares", probes, room=room)
    return {cast("int", lane): cast("int", count) for lane, count, _ in rows}


@unrepeatable_operation
def claim(runner: str, probes: Sequence[Probe], room: int) -> Steps[list[Claimed]]:
    """Up to `room` jobs from the lanes, higher priority first, then first come, first served.

    Empty when the lanes are, and when the runner is not alive by the store's clock. When the reply is lost
    (OutcomeUnknown) the runner may hold jobs that it does not know: `held_by` lists them.
    """
    if len(probes) == 1:
        chosen: Sequence[Row] = [(probes[0].lane, probes[0].after, room, None)]
    else:
        rows = yield ask_rows("shares", probes, room=room)
        share = {lane: (count, upto) for lane, count, upto in rows}
        chosen = [(probe.lane, probe.after, *share[probe.lane]) for probe in probes if probe.lane in share]
        if not chosen:
            return []
    claimed = yield ask_rows("claim", chosen, runner=runner, room=room)
    jobs = list(map(Claimed._make, claimed))
    if len(probes) > 1:
        priority = {probe.lane: probe.priority for probe in probes}
        jobs.sort(key=lambda job: (-priority[job.lane], job.seq))
    return jobs


@operation
def give_back(claimed: Sequence[tuple[str, int]], *, channel: str) -> Steps[None]:
    """Returns jobs that were claimed (job, epoch) but not begun to their places in their lanes.

    What a user asked of them meanwhile is done.
    """
    answered = yield ask_rows("give_back", claimed, channel=channel)
    if answered[0][0] != answered[0][1]:
        raise Disturbed
    for job, action in (yield ask_rows("asked_of", claimed)):
        yield ask("unask_runner", job=job)
        yield from do_as_asked(cast("str", job), cast("Request", action), channel=channel)
