"""Claiming: the heads of lanes become leases of one living runner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, cast

from posthorse.rules.fair_share import Head
from posthorse.rules.job import Lane
from posthorse.rules.requests import LEAVE, AskedOfRunner
from posthorse.store.base import (
    Operation,
    QuerySteps,
    TypedQuery,
    operation,
    query_rows,
    single_operation,
)
from posthorse.store.operations.ends import LeaseRace
from posthorse.store.operations.lanes import LaneColumns, lane_of
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.queries import Row

GROWTH = 4
"""The factor by which more lanes are queried after some that had few jobs."""

AT_ONCE = 16
"""How many lanes of several priorities are queried together on a guess."""

PAST_RIVALS = 4
"""How many lanes are queried once more, one by one."""


class Claimed(NamedTuple):
    """One job that a runner now holds. Its epoch is part of the fence of each write that the runner makes for it."""

    job: str
    epoch: int
    lane: int
    seq: int
    errors: int
    crashes: int
    interruptions: int
    arguments: str | None
    """None if they are too long to be claimed along; `read.arguments` returns them."""
    options: str | None
    run_at: int | None


class Probe(NamedTuple):
    """A lane that may be served, from after a position that is known to be consumed."""

    lane: int
    after: int
    priority: int


class News(NamedTuple):
    """What a runner must learn: how often queues were changed, the store's clock, and lanes that it does not know."""

    changes: int
    now: int
    lanes: list[tuple[int, Lane]]


NEWS = TypedQuery(
    "news",
    tuple[str, int, int | None, str | None, str | None, int | None, int | None, str | None, int | None],
)
WAITS = TypedQuery("waits", tuple[int, int | None])
FILLED_LANES = TypedQuery("filled_lanes", tuple[int, int])
LANES_WITH_JOBS = TypedQuery("lanes_with_jobs", tuple[int])
HEADS = TypedQuery("heads", Head)
SHARES = TypedQuery("shares", tuple[int, int, int])
CLAIM = TypedQuery("claim", Claimed)
CLAIM_TOGETHER = TypedQuery("claim_together", Claimed)
GIVE_BACK = TypedQuery("give_back", tuple[int, int, int])
ASKED_OF = TypedQuery("asked_of", tuple[str, AskedOfRunner])


@single_operation
def news(known: int) -> QuerySteps[News]:
    """Return the news, with the lanes whose numbers are above `known`."""
    rows = yield from NEWS(known=known)
    # A row has all columns of a lane, or none.
    lanes = [(row[2], lane_of(*cast("LaneColumns", row[3:]))) for row in rows if row[2] is not None]
    return News(int(rows[0][0]), rows[0][1], lanes)


@single_operation
def lane_waits(probes: Sequence[Probe]) -> QuerySteps[dict[int, int]]:
    """Return how many microseconds the first jobs of lanes have waited; empty lanes are left out."""
    rows = yield from WAITS([(probe.lane, probe.after) for probe in probes])
    return {lane: waited for lane, waited in rows if waited is not None}


@single_operation
def filled_lanes() -> QuerySteps[dict[int, int]]:
    """Return all lanes that hold jobs, with the positions of their heads; empty lanes cost nothing.

    Slow on PostgreSQL while an old transaction keeps consumed entries.
    """
    return dict((yield from FILLED_LANES()))


@single_operation
def first_places(probes: Sequence[Probe]) -> QuerySteps[dict[int, int]]:
    """Return which of these lanes hold jobs, with the positions of their heads."""
    return dict((yield from HEADS(probes, room=1)))


@single_operation
def lanes_with_jobs(probes: Sequence[Probe]) -> QuerySteps[frozenset[int]]:
    """Return which of these lanes hold jobs. Takes no locks: a hint for `claim`."""
    return (yield from _with_jobs(probes))


def claim(runner: str, probes: Sequence[Probe], room: int, *, has_rivals: bool = True) -> Operation[list[Claimed]]:
    """Claim up to `room` jobs from the lanes, higher priority first, then first come, first served.

    has_rivals: whether other processes may claim at the same moment, and leave a lane with fewer jobs than were
    counted.

    Returns nothing if the lanes are empty, or if the runner is not alive by the store's clock. If the reply is lost
    (OutcomeUnknown), the runner may hold jobs that it does not know: `held_by` lists them.
    """
    steps = partial(_claim, runner, probes, room, has_rivals)
    is_single = all(probe.priority == probes[0].priority for probe in probes)
    return Operation(steps, is_single=is_single, is_repeatable=False, creates_no_work=True)


def few_of_each(room: int, lanes: int) -> int:
    """Return how many jobs of each lane to look at first: twice its share, and two."""
    return 2 + 2 * room // lanes


def _claim(runner: str, probes: Sequence[Probe], room: int, has_rivals: bool) -> QuerySteps[list[Claimed]]:
    """Claim from the highest priority down, as far as there is room."""
    layers = _layers(probes)
    if len(layers) == 1:
        return (yield from _claim_layers(runner, layers, room))
    filled = yield from _with_jobs(probes)
    layers = _layers([probe for probe in probes if probe.lane in filled])
    claimed: list[Claimed] = []
    asked, wanted = 0, 1
    while layers and len(claimed) < room:
        some = [layers.pop(0)]
        lanes = len(some[0])
        while layers and lanes + len(layers[0]) <= wanted:
            some.append(layers.pop(0))
            lanes += len(some[-1])
        claimed += yield from _claim_layers(runner, some, room - len(claimed))
        if has_rivals and lanes > 1 and len(claimed) < room:
            claimed += yield from _claim_past_rivals(runner, some, room - len(claimed))
        asked += lanes
        # All jobs of these lanes are looked at, so only a few lanes are queried on a guess.
        most = max(AT_ONCE, GROWTH * asked)
        wanted = most if not claimed else min(most, 1 + (room - len(claimed)) * asked // len(claimed))
    return claimed


def _claim_layers(runner: str, layers: Sequence[Sequence[Probe]], room: int) -> QuerySteps[list[Claimed]]:
    if len(layers) > 1:
        return (yield from _claim_shares(runner, [probe for layer in layers for probe in layer], room))
    [layer] = layers
    if len(layer) > 1:
        few = few_of_each(room, len(layer))
        return (yield from CLAIM_TOGETHER(_places(layer), runner=runner, room=room, few=few))
    [(lane, after, _)] = layer
    return (yield from CLAIM([(lane, after, room, None)], runner=runner, room=room))


def _claim_past_rivals(runner: str, layers: Sequence[Sequence[Probe]], room: int) -> QuerySteps[list[Claimed]]:
    """Claim again behind jobs that other runners hold: they were counted as a lane's share, and later jobs come before
    lower priorities.
    """
    probes = [probe for layer in layers for probe in layer]
    filled = yield from _with_jobs(probes)
    claimed: list[Claimed] = []
    for probe in [probe for probe in probes if probe.lane in filled][:PAST_RIVALS]:
        if len(claimed) < room:
            claimed += yield from _claim_layers(runner, [[probe]], room - len(claimed))
    return claimed


def _claim_shares(runner: str, probes: Sequence[Probe], room: int) -> QuerySteps[list[Claimed]]:
    rows = yield from SHARES(probes, room=room)
    share = {lane: (count, upto) for lane, count, upto in rows}
    chosen: list[Row] = [(probe.lane, probe.after, *share[probe.lane]) for probe in probes if probe.lane in share]
    if not chosen:
        return []
    claimed = yield from CLAIM(chosen, runner=runner, room=room)
    priority = {probe.lane: probe.priority for probe in probes}
    claimed.sort(key=lambda job: (-priority[job.lane], job.seq))
    return claimed


def _layers(probes: Sequence[Probe]) -> list[list[Probe]]:
    """Return the lanes by priority, the highest first."""
    layers: dict[int, list[Probe]] = {}
    for probe in probes:
        layers.setdefault(probe.priority, []).append(probe)
    return [layer for _, layer in sorted(layers.items(), reverse=True)]


def _with_jobs(probes: Sequence[Probe]) -> QuerySteps[frozenset[int]]:
    return frozenset(lane for (lane,) in (yield from LANES_WITH_JOBS(_places(probes))))


def _places(probes: Sequence[Probe]) -> list[Row]:
    return [(lane, after) for lane, after, _ in probes]


@operation
def give_back(runner: str, claimed: Sequence[tuple[str, int]]) -> QuerySteps[None]:
    """Return jobs that a runner claimed (job, epoch) but did not start to their positions in their lanes.

    Requests that users made meanwhile are carried out.
    """
    [(ended, lined_up, _)] = yield from GIVE_BACK(claimed, runner=runner)
    if ended != lined_up:
        raise LeaseRace
    asked = yield from ASKED_OF(claimed)
    if asked:
        yield query_rows("unask_runner", [(job,) for job, _ in asked])
    for job, action in asked:
        if action != LEAVE:  # it left already
            yield from do_as_asked(job, action)
